//! Where and when something was measured. Called by every bench.

use super::chaski::Chaski;
use anyhow::{Context, Result};
use serde_json::{Value as Json, json};
use std::fs;
use std::process::Command;

/// The machine as `chaski devices` sees it, with the rate at which its memory can be read where that is measured.
pub fn describe(chaski: &Chaski) -> Result<Json> {
    let mut measure = Command::new(&chaski.program);
    let measured = measure.args(["devices", "--measure", "-o", "json"]).output();
    let devices = match measured.map(|output| serde_json::from_slice::<Json>(&output.stdout)) {
        Ok(Ok(devices)) => devices,
        _ => chaski.ask_json(&["devices", "-o", "json"])?,
    };
    let mut cpu = devices.get(0).cloned().context("`chaski devices` names no device")?;
    if let Some(fields) = cpu.as_object_mut() {
        fields.remove("device");
        fields.insert("system".into(), json!(format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)));
    }
    Ok(cpu)
}

/// One sentence that says what the machine is.
pub fn sentence(machine: &Json) -> String {
    let text = |key: &str| machine[key].as_str().unwrap_or("?").to_owned();
    let features: Vec<&str> = machine["features"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let gib = machine["memory_bytes"].as_f64().unwrap_or(0.0) / f64::from(1 << 30);
    let read = match machine["ceilings"]["read_gbps"].as_f64() {
        Some(rate) => format!(", read at {rate:.1} GB/s"),
        None => String::new(),
    };
    let (name, cores, system) = (text("name"), &machine["num_cores"], text("system"));
    format!("{name}, {cores} cores ({}), {gib:.1} GiB of memory{read}, {system}", features.join(", "))
}

/// How many programs wanted to run during the last minute, on average, where the system tells.
pub fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Today in UTC, as `2026-01-31`.
pub fn date() -> Result<String> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(civil(since.as_secs() / 86_400))
}

/// Days since 1970 as a date. Counted in eras of 400 years (146,097 days) from 1 March of year 0, so that the leap day
/// is the last of its year.
fn civil(days: u64) -> String {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        for (days, date) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_454, "2026-01-01"),
            (47_540, "2100-02-28"),
        ] {
            assert_eq!(civil(days), date);
        }
    }

    #[test]
    fn a_machine_fits_in_a_sentence() {
        let machine = json!({
            "name": "A CPU", "num_cores": 2, "memory_bytes": 1u64 << 31, "features": ["avx2"], "system": "linux x86_64",
            "ceilings": { "read_gbps": 30.0 },
        });
        assert_eq!(sentence(&machine), "A CPU, 2 cores (avx2), 2.0 GiB of memory, read at 30.0 GB/s, linux x86_64");
    }
}

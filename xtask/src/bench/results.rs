//! The rows of a bench, kept as JSON and shown as Markdown. Called by every bench.
//!
//! The JSON file holds everything; a run replaces the rows it measured anew and leaves the others, as long as it is the
//! same machine. The page is written from the file.

use super::duel::Row;
use super::machine;
use anyhow::{Context, Result};
use evidence::measure::Summary;
use serde_json::{Value as Json, json};
use std::fs;
use std::path::Path;

/// When and with what a row was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Occasion {
    pub date: String,
    /// Our commit.
    pub chaski: String,
    pub peer: String,
    pub threads: usize,
    /// Programs that wanted to run in the minute before.
    pub load: Option<f64>,
    /// How fast memory could be read just before, in GB/s.
    pub read_gbps: Option<f64>,
}

/// Everything known about one comparison on one machine.
pub struct Results {
    /// Name of the files, without what follows the point.
    name: &'static str,
    machine: Json,
    rows: Vec<(Occasion, Row)>,
}

impl Results {
    /// What `folder` holds of this machine.
    pub fn read(folder: &Path, name: &'static str, machine: Json) -> Result<Results> {
        let path = folder.join(format!("{name}.json"));
        let mut results = Results { name, machine, rows: Vec::new() };
        let Ok(text) = fs::read_to_string(&path) else { return Ok(results) };
        let found: Json = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        if ["name", "num_cores", "features"].iter().all(|key| found["machine"][key] == results.machine[key]) {
            let rows = found["rows"].as_array().into_iter().flatten();
            results.rows = rows
                .map(read_row)
                .collect::<Option<_>>()
                .with_context(|| format!("{} is not of this bench's making; move it away", path.display()))?;
        } else {
            eprintln!("{} is of another machine; it is written anew", path.display());
        }
        Ok(results)
    }

    /// Takes rows in, in place of those that measured the same; with `more`, in addition to those that did so with the
    /// same programs.
    pub fn enter(&mut self, occasion: &Occasion, rows: Vec<Row>, more: bool) {
        for row in rows {
            let same = |old: &Row| (&old.group, &old.model, &old.test) == (&row.group, &row.model, &row.test);
            match self.rows.iter_mut().find(|(_, old)| same(old)) {
                Some((before, old)) if more && before.programs() == occasion.programs() => {
                    old.ours.extend(row.ours);
                    old.theirs.extend(row.theirs);
                }
                Some(place) => *place = (occasion.clone(), row),
                None => self.rows.push((occasion.clone(), row)),
            }
        }
        self.sort();
    }

    /// Brings together what is of one group and of one model, in the order in which they came; prompts stand first.
    fn sort(&mut self) {
        let groups = distinct(self.rows.iter().map(|(_, row)| row.group.clone()));
        let models = distinct(self.rows.iter().map(|(_, row)| row.model.clone()));
        let place = |names: &[String], name: &String| names.iter().position(|known| known == name);
        self.rows.sort_by_key(|(_, row)| {
            (place(&groups, &row.group), place(&models, &row.model), row.test.starts_with("tg"))
        });
    }

    /// The rows of a group.
    pub fn group<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a (Occasion, Row)> {
        self.rows.iter().filter(move |(_, row)| row.group == group)
    }

    /// Writes the JSON file and the page, which begins with `preface`.
    pub fn write(&self, folder: &Path, preface: &str) -> Result<()> {
        let write = |extension: &str, text: String| {
            let path = folder.join(format!("{}.{extension}", self.name));
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let rows: Vec<Json> = self.rows.iter().map(|(occasion, row)| row_json(occasion, row)).collect();
        write("json", format!("{:#}\n", json!({ "machine": self.machine, "rows": rows })))?;
        write("md", self.page(preface))
    }

    fn page(&self, preface: &str) -> String {
        let mut page = format!("<!-- Written by a bench of `cargo xtask bench`; do not edit. -->\n{preface}\n");
        page.push_str(&format!("Machine: {}.\n", machine::sentence(&self.machine)));
        for group in distinct(self.rows.iter().map(|(_, row)| row.group.as_str())) {
            page.push_str(&format!("\n## {group}\n\n{}\n", table(self.group(group))));
            for occasion in distinct(self.group(group).map(|(occasion, row)| occasion.sentence(row.ours.len()))) {
                page.push_str(&format!("{occasion}\n"));
            }
        }
        page
    }
}

/// Rows as a table.
pub fn table<'a>(rows: impl IntoIterator<Item = &'a (Occasion, Row)>) -> String {
    let mut table = String::from(
        "| model | test | Chaski | llama.cpp | ratio | spread | of memory |\n|---|---|---:|---:|---:|---:|---:|\n",
    );
    for (occasion, row) in rows {
        let median = |samples: &[f64]| Summary::of(samples).map_or("?".into(), |summary| rate(summary.median));
        let (ratio, spread) = match row.ratio() {
            Some(ratio) => (format!("{:.2}", ratio.median), format!("{:.2}–{:.2}", ratio.low, ratio.high)),
            None => ("?".into(), "?".into()),
        };
        let share = memory_share(occasion, row).map(|share| format!("{:.0} %", 100.0 * share)).unwrap_or_default();
        let Row { model, test, ours, theirs, .. } = row;
        let (ours, theirs) = (median(ours), median(theirs));
        table.push_str(&format!("| {model} | {test} | {ours} | {theirs} | {ratio} | {spread} | {share} |\n"));
    }
    table
}

/// The rate at which ours read its weights, as a share of what memory gave.
fn memory_share(occasion: &Occasion, row: &Row) -> Option<f64> {
    let tokens = Summary::of(&row.ours)?.median;
    Some(tokens * row.token_bytes? / (occasion.read_gbps? * 1e9))
}

impl Occasion {
    /// What was measured, and how.
    fn programs(&self) -> (&str, &str, usize) {
        (&self.chaski, &self.peer, self.threads)
    }

    fn sentence(&self, rounds: usize) -> String {
        let Occasion { date, chaski, peer, threads, load, read_gbps } = self;
        let load = load.map(|load| format!(", load {load:.1} before")).unwrap_or_default();
        let memory = read_gbps.map(|rate| format!(", memory read at {rate:.1} GB/s")).unwrap_or_default();
        format!("- {date}: {rounds} rounds, {threads} threads, Chaski at {chaski} against {peer}{load}{memory}.")
    }
}

/// Three digits that count.
fn rate(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// Each once, in the order of appearance.
fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

fn row_json(occasion: &Occasion, row: &Row) -> Json {
    let summary = |summary: Option<Summary>| {
        summary.map(|Summary { median, low, high, .. }| {
            json!({ "median": short(median), "low": short(low), "high": short(high) })
        })
    };
    let samples = |samples: &[f64]| samples.iter().copied().map(short).collect::<Vec<f64>>();
    json!({
        "group": row.group, "model": row.model, "test": row.test, "ratio": summary(row.ratio()),
        "ours": summary(Summary::of(&row.ours)), "theirs": summary(Summary::of(&row.theirs)),
        "ours_samples": samples(&row.ours), "theirs_samples": samples(&row.theirs),
        "date": occasion.date, "chaski": occasion.chaski, "peer": occasion.peer, "threads": occasion.threads,
        "load": occasion.load, "read_gbps": occasion.read_gbps, "token_bytes": row.token_bytes,
    })
}

/// Without digits that mean nothing.
fn short(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn read_row(row: &Json) -> Option<(Occasion, Row)> {
    let text = |key: &str| row[key].as_str().map(str::to_owned);
    let samples = |key: &str| row[key].as_array()?.iter().map(Json::as_f64).collect::<Option<Vec<f64>>>();
    let occasion = Occasion {
        date: text("date")?,
        chaski: text("chaski")?,
        peer: text("peer")?,
        threads: row["threads"].as_u64()? as usize,
        load: row["load"].as_f64(),
        read_gbps: row["read_gbps"].as_f64(),
    };
    let (ours, theirs) = (samples("ours_samples")?, samples("theirs_samples")?);
    let token_bytes = row["token_bytes"].as_f64();
    let row = Row { group: text("group")?, model: text("model")?, test: text("test")?, ours, theirs, token_bytes };
    Some((occasion, row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(group: &str, test: &str, ours: f64) -> Row {
        Row {
            group: group.into(),
            model: "m".into(),
            test: test.into(),
            ours: vec![ours; 3],
            theirs: vec![2.0; 3],
            token_bytes: (test == "a").then_some(1e9),
        }
    }

    fn occasion(date: &str) -> Occasion {
        Occasion {
            date: date.into(),
            chaski: "abc".into(),
            peer: "p".into(),
            threads: 2,
            load: Some(0.5),
            read_gbps: Some(10.0),
        }
    }

    #[test]
    fn a_run_replaces_what_it_measured_and_leaves_the_rest() {
        let folder = std::env::temp_dir().join(format!("chaski-xtask-results-{}", std::process::id()));
        let machine = json!({ "name": "A", "num_cores": 2, "features": [], "memory_bytes": 0 });
        let mut results = Results::read(&folder, "peers", machine.clone()).unwrap();
        results.enter(
            &occasion("day 1"),
            vec![row("Speed", "a", 1.0), row("Speed", "b", 4.0), row("Deep", "a", 1.0)],
            false,
        );
        results.write(&folder, "# Page\n").unwrap();
        let mut results = Results::read(&folder, "peers", machine).unwrap();
        results.enter(
            &occasion("day 2"),
            vec![row("Speed", "a", 6.0), row("Speed", "tg8", 1.0), row("Speed", "c", 5.0)],
            false,
        );
        assert_eq!(results.group("Speed").map(|(_, row)| row.ours[0]).collect::<Vec<_>>(), [6.0, 4.0, 5.0, 1.0]);
        results.enter(&occasion("day 3"), vec![row("Speed", "c", 9.0)], true);
        assert_eq!(results.group("Speed").find(|(_, row)| row.test == "c").map(|(_, row)| row.ours.len()), Some(6));
        let page = results.page("# Page\n");
        assert!(
            page.contains("| m | a | 6.0 | 2.0 | 3.00 | 3.00–3.00 | 60 % |\n| m | b | 4.0 | 2.0 | 2.00 |"),
            "{page}"
        );
        assert!(page.contains("## Deep") && page.contains("- day 1: 3 rounds, 2 threads, Chaski at abc against p"));
        let other = Results::read(&folder, "peers", json!({ "name": "B", "num_cores": 2, "features": [] })).unwrap();
        assert!(other.rows.is_empty(), "another machine's rows do not mix");
        fs::remove_dir_all(&folder).unwrap();
    }
}

//! Sockets and connections: binds, accepts within limits, and drains when asked to stop.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use engine::engine::{Engine, StepRunner};
use engine::handle::{Handle, spawn};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, UnixListener, lookup_host};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::app::{App, Model};
use crate::config::{Config, Limits};
use crate::error::ServeError;
use crate::metrics::{Metrics, Watch};
use crate::routes::router;

/// How long a client may take to send the head of a request, or leave its connection idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Most headers of a request.
const MOST_HEADERS: usize = 100;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Serves `model` until the process is asked to stop (SIGTERM or Ctrl-C), then finishes what is under way. A
/// second signal breaks it off. `ready` is told where the server listens.
pub fn run<R: StepRunner + Send + 'static>(
    mut engine: Engine<R>,
    model: Model,
    config: Config,
    ready: impl FnOnce(&[String]),
) -> Result<(), ServeError> {
    let metrics = Arc::new(Metrics::default());
    engine.set_observer(Some(Box::new(Watch(metrics.clone()))));
    let (handle, thread) = spawn(engine)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(num_threads(&config)).enable_all().build()?;
    let outcome = runtime.block_on(async {
        let server = Server::bind(model, config, handle, metrics).await?;
        // Whoever is told the address may ask it to stop at once.
        let mut signals = signals()?;
        ready(server.addresses());
        server
            .serve(async move || {
                signals.recv().await;
            })
            .await;
        Ok(())
    });
    // What is left of connections goes with the runtime; the engine ends when nobody holds a handle to it.
    runtime.shutdown_timeout(Duration::from_secs(1));
    if outcome.is_ok() && thread.join().is_err() {
        return Err(ServeError::EngineStopped);
    }
    outcome
}

/// Threads for connections. A token of a stream takes one of them some 0.1 ms, and each takes a core from the engine's
/// workers whenever it wakes: more than a few are of use only where there are many cores.
fn num_threads(config: &Config) -> usize {
    match config.num_threads {
        0 => (std::thread::available_parallelism().map_or(1, usize::from) / 8).clamp(1, 4),
        given => given,
    }
}

/// Sockets that are bound, and what answers on them.
pub struct Server {
    listeners: Vec<Listener>,
    addresses: Vec<String>,
    router: Router,
    limits: Limits,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Server {
    /// Binds all addresses.
    pub async fn bind(model: Model, config: Config, engine: Handle, metrics: Arc<Metrics>) -> Result<Self, ServeError> {
        let limits = config.limits;
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for host in &config.hosts {
            let refused = |cause| ServeError::Bind { address: host.clone(), cause };
            if host.ends_with(".sock") {
                listeners.push(Listener::Unix(UnixListener::bind(host).map_err(refused)?));
                addresses.push(format!("unix:{host}"));
                continue;
            }
            let listener = bind(host, &config)
                .await
                .map_err(|cause| ServeError::Bind { address: format!("{host}:{}", config.port), cause })?;
            addresses.push(format!("http://{}", listener.local_addr().map_err(refused)?));
            listeners.push(Listener::Tcp(listener));
        }
        if listeners.is_empty() {
            return Err(ServeError::Setting("--host: no address to listen on".into()));
        }
        let router = router(Arc::new(App::new(model, config, engine, metrics)?));
        Ok(Server { listeners, addresses, router, limits })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Answers until `stop` returns, then lets what is under way end, unless `stop` returns once more.
    pub async fn serve(self, mut stop: impl AsyncFnMut()) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let graceful = Arc::new(GracefulShutdown::new());
        let (close, closed) = watch::channel(());
        let accepting: Vec<_> = self
            .listeners
            .into_iter()
            .map(|listener| {
                let door = Door {
                    router: self.router.clone(),
                    places: places.clone(),
                    limits: self.limits,
                    graceful: graceful.clone(),
                };
                let mut closed = closed.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = door.accept(listener) => {}
                        _ = closed.changed() => {}
                    }
                })
            })
            .collect();
        drop(self.router);
        stop().await;
        drop(close);
        for task in accepting {
            let _ = task.await;
        }
        // The doors are gone, so nobody else holds it.
        let Some(graceful) = Arc::into_inner(graceful) else { return };
        tokio::select! {
            () = graceful.shutdown() => {}
            () = stop() => {}
        }
    }
}

/// What every connection of a listener needs.
struct Door {
    router: Router,
    places: Arc<Semaphore>,
    limits: Limits,
    graceful: Arc<GracefulShutdown>,
}

impl Door {
    /// Accepts connections, as many at once as there are places.
    async fn accept(self, listener: Listener) {
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else { return };
            let refused = match &listener {
                Listener::Tcp(listener) => match listener.accept().await {
                    Ok((stream, _)) => {
                        // Tokens are small and must not wait for each other.
                        let _ = stream.set_nodelay(true);
                        self.open(stream, place);
                        None
                    }
                    Err(problem) => Some(problem),
                },
                Listener::Unix(listener) => match listener.accept().await {
                    Ok((stream, _)) => {
                        self.open(stream, place);
                        None
                    }
                    Err(problem) => Some(problem),
                },
            };
            if refused.is_some() {
                // Mostly too many open files: some will close.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Serves a connection on a task of its own.
    fn open(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, place: OwnedSemaphorePermit) {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(self.limits.header_bytes.max(8192))
            .max_headers(MOST_HEADERS)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.router.clone()));
        let connection = self.graceful.watch(connection);
        tokio::spawn(async move {
            // A client that breaks off is no concern of the others.
            let _ = connection.await;
            drop(place);
        });
    }
}

async fn bind(host: &str, config: &Config) -> std::io::Result<TcpListener> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut refused = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host, config.port)).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        if config.reuse_port {
            socket.set_reuseport(true)?;
        }
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(problem) => refused = problem,
        }
    }
    Err(refused)
}

/// The signals that ask to stop, as messages.
fn signals() -> std::io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(2);
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signal: Signal = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                let _ = sender.try_send(());
            }
        });
    }
    Ok(receiver)
}

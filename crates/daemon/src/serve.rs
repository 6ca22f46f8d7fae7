//! The loopback API's router: who may ask, and which question goes to which part of the engine.
//!
//! Who may ask is the owner alone: see `loopback`.

mod lines;

use std::{io, path::Path, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::TcpListener;

use crate::{
    api::{
        API_FILE, ApiFile, Failure,
        backup::BackupRequest,
        check::CheckRequest,
        config::{SetRequest, Settings},
        courier::{CourierList, InitRequest, RemoveCourierRequest},
        free::FreeRequest,
        invite::{InviteRequest, JoinRequest},
        pause::Pause,
        restore::{RestoreRequest, StopRestores},
        retention::{ForgetRequest, PruneRequest},
        snapshot::{DiffQuery, FindQuery, ListQuery, ReadQuery},
        status::{Friends, OfferRequest, RemoveRequest, Removed, RenameRequest},
    },
    atomic,
    engine::{Engine, EngineError},
    exit::Exit,
    loopback::{self, Hosts},
};

/// Largest request body in bytes; a backup of thousands of paths fits.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Returns the routes without the guard: for callers in this very process.
pub(crate) fn router(engine: Engine) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/friends", get(friends))
        .route("/v1/friends/offer", post(offer))
        .route("/v1/friends/rename", post(rename))
        .route("/v1/friends/remove", post(remove))
        .route("/v1/invite", post(invite))
        .route("/v1/join", post(join))
        .route("/v1/backup", post(backup))
        .route("/v1/snapshots", get(snapshots))
        .route("/v1/forget", post(forget))
        .route("/v1/prune", post(prune))
        .route("/v1/free", post(free))
        .route("/v1/ls", get(list))
        .route("/v1/find", get(find))
        .route("/v1/diff", get(diff))
        .route("/v1/read", get(read))
        .route("/v1/restore", post(restore))
        .route("/v1/restore/stop", post(stop_restores))
        .route("/v1/retrace", get(retrace))
        .route("/v1/check", post(check))
        .route("/v1/couriers", get(couriers))
        .route("/v1/couriers/init", post(make_courier))
        .route("/v1/couriers/remove", post(remove_courier))
        .route("/v1/config", get(settings).post(set))
        .route("/v1/pause", post(pause))
        .route("/v1/events", get(events))
        .route("/v1/stop", post(stop))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(engine)
}

/// A listening API: its socket and the file that tells how to reach it.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    file: ApiFile,
}

impl Listener {
    /// Binds `port` on loopback or the next free one, and any when `port` is 0.
    pub(crate) async fn bind(port: u16) -> io::Result<Self> {
        let socket = loopback::bind(port).await?;
        let file = ApiFile {
            port: socket.local_addr()?.port(),
            token: loopback::secret()?,
            pid: std::process::id(),
        };
        Ok(Self { socket, file })
    }

    /// Returns the port.
    pub(crate) const fn port(&self) -> u16 {
        self.file.port
    }

    /// Writes `api.json`, and answers until the engine stops.
    pub(crate) async fn run(self, home: &Path, engine: Engine) -> io::Result<()> {
        let bytes = serde_json::to_vec(&self.file)?;
        atomic::write(&home.join(API_FILE), &bytes)?;
        let guard = Arc::new(Guard::new(&self.file));
        let router = router(engine.clone()).layer(middleware::from_fn_with_state(guard, admit));
        let stopped = async move { engine.stopped().await };
        let served = axum::serve(self.socket, router)
            .with_graceful_shutdown(stopped)
            .await;
        let _ = std::fs::remove_file(home.join(API_FILE));
        served
    }
}

/// Whom the API answers.
#[derive(Debug)]
struct Guard {
    hosts: Hosts,
    bearer: String,
}

impl Guard {
    fn new(file: &ApiFile) -> Self {
        Self {
            hosts: Hosts::new(file.port),
            bearer: format!("Bearer {}", file.token),
        }
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION);
        let bearer = bearer.map_or(&b""[..], |it| it.as_bytes());
        self.hosts.admit(headers) && loopback::same(bearer, self.bearer.as_bytes())
    }
}

async fn admit(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if guard.admits(request.headers()) {
        return next.run(request).await;
    }
    let failure = Failure {
        error: "this request does not come from this vault's owner".to_owned(),
        hint: String::new(),
        exit: Exit::Failed,
    };
    (StatusCode::FORBIDDEN, Json(failure)).into_response()
}

impl IntoResponse for EngineError {
    fn into_response(self) -> Response {
        let failure = Failure::from(&self);
        let code = match failure.exit {
            Exit::Usage => StatusCode::BAD_REQUEST,
            Exit::Busy => StatusCode::CONFLICT,
            Exit::OutOfReach | Exit::NotYetSafe => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (code, Json(failure)).into_response()
    }
}

type Answer<T> = Result<Json<T>, EngineError>;

/// A body that says nothing but that it is done.
#[derive(Debug, Serialize)]
struct Done {}

/// Reads a JSON body; an empty one is an empty object.
fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, EngineError> {
    let bytes = if bytes.is_empty() {
        b"{}"
    } else {
        bytes.as_ref()
    };
    serde_json::from_slice(bytes).map_err(EngineError::BadRequest)
}

async fn status(State(engine): State<Engine>) -> impl IntoResponse {
    engine.status().await.map(Json)
}

async fn friends(State(engine): State<Engine>) -> Answer<Friends> {
    let members = engine.status().await?.members;
    Ok(Json(Friends { members }))
}

async fn offer(State(engine): State<Engine>, bytes: Bytes) -> Answer<Done> {
    let request: OfferRequest = body(&bytes)?;
    engine.offer(&request.friend, request.bytes).await?;
    Ok(Json(Done {}))
}

async fn rename(State(engine): State<Engine>, bytes: Bytes) -> Answer<Done> {
    let request: RenameRequest = body(&bytes)?;
    engine.rename(&request.friend, &request.petname).await?;
    Ok(Json(Done {}))
}

async fn remove(State(engine): State<Engine>, bytes: Bytes) -> Answer<Removed> {
    let request: RemoveRequest = body(&bytes)?;
    if request.device {
        engine.remove_device(&request.name).await?;
    } else {
        engine.remove(&request.name).await?;
    }
    let headline = engine.status().await?.headline;
    Ok(Json(Removed { headline }))
}

async fn invite(State(engine): State<Engine>, bytes: Bytes) -> impl IntoResponse {
    let request: InviteRequest = body(&bytes)?;
    engine.invite(request.petname).await.map(Json)
}

async fn join(State(engine): State<Engine>, bytes: Bytes) -> Result<Response, EngineError> {
    let request: JoinRequest = body(&bytes)?;
    Ok(lines::of_jobs(engine.join(request).await?))
}

async fn backup(State(engine): State<Engine>, bytes: Bytes) -> Result<Response, EngineError> {
    let request: BackupRequest = body(&bytes)?;
    Ok(lines::of_jobs(engine.backup(request).await?))
}

async fn snapshots(State(engine): State<Engine>) -> impl IntoResponse {
    engine.snapshots().await.map(Json)
}

async fn forget(State(engine): State<Engine>, bytes: Bytes) -> impl IntoResponse {
    let request: ForgetRequest = body(&bytes)?;
    engine.forget(request).await.map(Json)
}

async fn prune(State(engine): State<Engine>, bytes: Bytes) -> impl IntoResponse {
    let request: PruneRequest = body(&bytes)?;
    engine.prune(request).await.map(Json)
}

async fn free(State(engine): State<Engine>, bytes: Bytes) -> impl IntoResponse {
    let request: FreeRequest = body(&bytes)?;
    engine.free(request).await.map(Json)
}

async fn list(
    State(engine): State<Engine>,
    Query(query): Query<ListQuery>,
) -> Result<Response, EngineError> {
    Ok(lines::of_jobs(engine.list(query).await?))
}

async fn find(
    State(engine): State<Engine>,
    Query(query): Query<FindQuery>,
) -> Result<Response, EngineError> {
    Ok(lines::of_jobs(engine.find(query).await?))
}

async fn diff(
    State(engine): State<Engine>,
    Query(query): Query<DiffQuery>,
) -> Result<Response, EngineError> {
    Ok(lines::of_jobs(engine.diff(query).await?))
}

async fn read(
    State(engine): State<Engine>,
    Query(query): Query<ReadQuery>,
) -> Result<Vec<u8>, EngineError> {
    engine.read(query).await
}

async fn restore(State(engine): State<Engine>, bytes: Bytes) -> Result<Response, EngineError> {
    let request: RestoreRequest = body(&bytes)?;
    Ok(lines::of_jobs(engine.restore(request).await?))
}

async fn stop_restores(State(engine): State<Engine>, bytes: Bytes) -> impl IntoResponse {
    let request: StopRestores = body(&bytes)?;
    engine.stop_restores(&request).map(Json)
}

async fn retrace(State(engine): State<Engine>) -> impl IntoResponse {
    engine.retrace().await.map(Json)
}

async fn check(State(engine): State<Engine>, bytes: Bytes) -> Result<Response, EngineError> {
    let request: CheckRequest = body(&bytes)?;
    Ok(lines::of_jobs(engine.check(request).await?))
}

async fn couriers(State(engine): State<Engine>) -> Answer<CourierList> {
    let couriers = engine.list_couriers().await?;
    Ok(Json(CourierList { couriers }))
}

async fn make_courier(State(engine): State<Engine>, bytes: Bytes) -> impl IntoResponse {
    let request: InitRequest = body(&bytes)?;
    engine.make_courier(request).await.map(Json)
}

async fn remove_courier(State(engine): State<Engine>, bytes: Bytes) -> Answer<Done> {
    let request: RemoveCourierRequest = body(&bytes)?;
    engine.remove_courier(&request.name).await?;
    Ok(Json(Done {}))
}

async fn settings(State(engine): State<Engine>) -> Json<Settings> {
    Json(Settings {
        settings: engine.config().settings(),
    })
}

async fn set(State(engine): State<Engine>, bytes: Bytes) -> Answer<Settings> {
    let request: SetRequest = body(&bytes)?;
    let settings = engine.configure(&request.key, &request.value)?.settings();
    Ok(Json(Settings { settings }))
}

async fn pause(State(engine): State<Engine>, bytes: Bytes) -> Answer<Pause> {
    let request: Pause = body(&bytes)?;
    engine.pause(request.until).await.map(Json)
}

async fn events(State(engine): State<Engine>) -> Response {
    lines::of_notices(engine.notices(), engine)
}

async fn stop(State(engine): State<Engine>) -> Json<Done> {
    engine.stop();
    Json(Done {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_on_this_machine_is_admitted() {
        let token = loopback::secret().unwrap();
        let guard = Guard::new(&ApiFile {
            port: 4750,
            token: token.clone(),
            pid: 1,
        });
        let headers = |host: &str, bearer: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            let bearer = format!("Bearer {bearer}").parse().unwrap();
            headers.insert(header::AUTHORIZATION, bearer);
            headers
        };
        assert!(guard.admits(&headers("127.0.0.1:4750", &token)));
        assert!(!guard.admits(&headers("127.0.0.1:4750", "wrong")));
        assert!(!guard.admits(&headers("evil.example:4750", &token)));
        let mut bare = headers("127.0.0.1:4750", &token);
        bare.remove(header::AUTHORIZATION);
        assert!(!guard.admits(&bare));
    }
}

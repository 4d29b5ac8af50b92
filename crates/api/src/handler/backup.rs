//! `GET /v1/backup`: the directory at this moment as one file, for admins who are elsewhere.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use tandem_store::BackupError;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::zone::{Piece, PieceBody};
use crate::problem::Problem;
use crate::request::{Caller, demand_accepts, query};
use crate::state::Api;

/// The media type of an SQLite database.
const SQLITE: &str = "application/vnd.sqlite3";
/// Octets in one piece.
const PIECE: usize = 64 * 1024;
/// Pieces read ahead of the reader.
const PIECES_AHEAD: usize = 4;
/// Longest wait for the reader to take one piece; then the backup breaks off.
const READER_LIMIT: Duration = Duration::from_secs(30);

/// Makes a backup and sends it: one SQLite file that `tandem restore` takes.
///
/// It holds every registration, the journal, and tokens and invitations as hashes; no key and no secret. Changes go on
/// meanwhile. One at a time; it needs as much room in the data folder as the database has.
#[utoipa::path(
    get, path = "/v1/backup", operation_id = "backUp", tag = "operation",
    responses((status = 200, description = "The backup.", body = String, content_type = "application/vnd.sqlite3",
        example = "SQLite format 3\u{0}")),
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.demand_admin()?;
    query(&uri, &[])?;
    demand_accepts(&headers, SQLITE)?;
    let turn = Arc::clone(&api.backing_up)
        .try_lock_owned()
        .map_err(|_| Problem::unavailable("Another backup is being made: try again when it has ended."))?;
    let (manifest, file) = api.directory.back_up().await?;
    let length = file.metadata().map_err(Problem::internal)?.len();
    tracing::info!(token = caller.0.token_id, serial = manifest.serial, octets = length, "backup made");
    let (pieces, reader) = mpsc::channel(PIECES_AHEAD);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        if send(file, &pieces, &runtime).is_none() {
            tracing::warn!("a backup was not taken to its end: its reader was too slow or has gone");
        }
    });
    let mut response = Body::new(PieceBody::new(reader)).into_response();
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(SQLITE));
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

/// Hands the file on as fast as its reader takes it; `None` when that ended early.
fn send(mut file: File, pieces: &mpsc::Sender<Piece>, runtime: &Handle) -> Option<()> {
    let hand_on = |piece| runtime.block_on(pieces.send_timeout(piece, READER_LIMIT)).ok();
    loop {
        let mut piece = vec![0; PIECE];
        match file.read(&mut piece).ok()? {
            0 => return hand_on(Piece::End),
            length => {
                piece.truncate(length);
                hand_on(Piece::Data(Bytes::from(piece)))?;
            }
        }
    }
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Busy => Self::unavailable("Another backup is being made: try again when it has ended."),
            BackupError::NoDatabase(_)
            | BackupError::NoBackup(_)
            | BackupError::Newer { .. }
            | BackupError::Damaged(..)
            | BackupError::Io { .. } => Self::unavailable(
                "The backup could not be made: the data folder needs free room for a copy of the database. The log says more.",
            )
            .because(error),
        }
    }
}

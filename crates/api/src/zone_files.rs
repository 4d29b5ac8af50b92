//! The master files, as the API has them read again: the program that wires Tandem brings them ([`ZoneFiles`]).

use std::future::Future;
use std::pin::Pin;

use tandem_zone::master::StaticZone;

/// The files being read: every zone, or everything that is wrong, a sentence each.
pub type Reading<'f> = Pin<Box<dyn Future<Output = Result<Vec<StaticZone>, Vec<String>>> + Send + 'f>>;

/// Reads the static zones anew.
pub trait ZoneFiles: std::fmt::Debug + Send + Sync + 'static {
    /// Every zone, or everything that is wrong, a sentence each: `ostn.test.zone:3: reason`. Shown to admins; names no
    /// folder of the machine (API-23).
    fn read(&self) -> Reading<'_>;
}

//! Connections to addresses that strangers publish: never inside our own network, never for long.
//!
//! Names are not taken here, only addresses: between the check and the connection there is no second look-up in which
//! a name could change (DNS rebinding, threat 14).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::address::{AddressRefusal, AddressRule};

/// Longest wait for one TCP connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most addresses of one target that are tried.
pub const MAX_ADDRESSES: usize = 4;

/// Connects where its rule allows.
#[derive(Debug, Clone)]
pub struct SafeConnector {
    rule: AddressRule,
    connect_timeout: Duration,
}

impl SafeConnector {
    /// With this rule and [`CONNECT_TIMEOUT`].
    #[must_use]
    pub const fn new(rule: AddressRule) -> Self {
        Self { rule, connect_timeout: CONNECT_TIMEOUT }
    }

    /// Whether the rule allows `address`.
    ///
    /// # Errors
    ///
    /// [`AddressRefusal`]: it does not.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefusal> {
        self.rule.check(address)
    }

    /// A TCP connection to this address.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Refused`] before anything is sent, when the rule forbids it; otherwise what the network says.
    pub async fn tcp(&self, address: SocketAddr) -> Result<TcpStream, ConnectError> {
        self.rule.check(address.ip()).map_err(ConnectError::Refused)?;
        match timeout(self.connect_timeout, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(source)) => Err(ConnectError::Io { address, source }),
            Err(_) => Err(ConnectError::Timeout(address)),
        }
    }

    /// A TCP connection to the first of `addresses` that takes one; at most [`MAX_ADDRESSES`] are tried, one by one.
    ///
    /// # Errors
    ///
    /// The last error; [`ConnectError::NoAddress`] when there is none to try. An address that the rule forbids ends it:
    /// nobody publishes one beside a good one by mistake, and to go on would help who tries his luck.
    pub async fn tcp_first(&self, addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
        for address in addresses {
            self.rule.check(address.ip()).map_err(ConnectError::Refused)?;
        }
        let mut last = ConnectError::NoAddress;
        for &address in addresses.iter().take(MAX_ADDRESSES) {
            match self.tcp(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A UDP socket at a random port that hears this address alone.
    pub(crate) async fn udp(&self, address: SocketAddr) -> Result<UdpSocket, ConnectError> {
        self.rule.check(address.ip()).map_err(ConnectError::Refused)?;
        connected_udp(address).await.map_err(|source| ConnectError::Io { address, source })
    }
}

/// A UDP socket connected to `address`, whatever that is.
pub(crate) async fn connected_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(address).await?;
    Ok(socket)
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not one to connect to; nothing was sent.
    #[error("not connected")]
    Refused(#[source] AddressRefusal),
    /// There is no address.
    #[error("there is no address to connect to")]
    NoAddress,
    /// Nobody answered in time.
    #[error("{0} did not answer in time")]
    Timeout(SocketAddr),
    /// What the network says.
    #[error("{address} cannot be reached")]
    Io {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// API-T25: with the production rule a listener on loopback sees no connection.
    #[tokio::test]
    async fn api_t25_no_connection_is_made() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let strict = SafeConnector::new(AddressRule::global([]));
        let mapped = SocketAddr::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), address.port());
        for address in [address, mapped] {
            assert!(matches!(strict.tcp(address).await, Err(ConnectError::Refused(_))));
            assert!(matches!(strict.tcp_first(&[address]).await, Err(ConnectError::Refused(_))));
            assert!(matches!(strict.udp(address).await, Err(ConnectError::Refused(_))));
        }
        // A good address in front does not smuggle the other in.
        let mixed = ["8.8.8.8:5061".parse().unwrap(), address];
        assert!(matches!(strict.tcp_first(&mixed).await, Err(ConnectError::Refused(_))));
        // The first connection that arrives is the one that is allowed: there was none before.
        let loose = SafeConnector::new(AddressRule::global([]).with_loopback());
        let ours = loose.tcp_first(&[address]).await.unwrap();
        let (_, from) = listener.accept().await.unwrap();
        assert_eq!(from, ours.local_addr().unwrap());
    }

    #[tokio::test]
    async fn the_next_address_is_tried() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let closed = {
            let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            gone.local_addr().unwrap()
        };
        let loose = SafeConnector::new(AddressRule::global([]).with_loopback());
        assert!(loose.tcp_first(&[closed, listener.local_addr().unwrap()]).await.is_ok());
        assert!(matches!(loose.tcp_first(&[closed]).await, Err(ConnectError::Io { .. })));
        assert!(matches!(loose.tcp_first(&[]).await, Err(ConnectError::NoAddress)));
    }
}

//! Bytes to and from an IRC server: TCP, TLS, lines.
//!
//! A line from the server has a limit, and bytes that are not UTF-8 become replacement characters: some users of old
//! networks still write Latin-1, and they must not end the connection. A line to the server is cut at the first CR, LF or
//! NUL, whatever the rest of the module has done about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, crypto};

use super::words::LINE_MAX;
use crate::channel::ChannelError;

/// For connecting, and again for TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest line of a server: 512 bytes, 8191 of tags, and some kindness.
const INBOUND_LINE_MAX: usize = 16 * 1024;

/// Whether a connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// In the clear.
    Off,
    /// Encrypted, the server checked against the system's authorities, or those of the file alone.
    On {
        /// A PEM file of authorities; read at each connection, so that it can be renewed.
        ca: Option<PathBuf>,
    },
}

/// What a connection is, encrypted or not.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Connects to a server.
pub(super) async fn connect(
    server: &str,
    port: u16,
    tls: &Tls,
) -> Result<Box<dyn Io>, ChannelError> {
    let connecting = TcpStream::connect((server, port));
    let tcp = within(CONNECT_TIMEOUT, "connect", connecting)
        .await?
        .map_err(|error| {
            ChannelError::lost(format!("cannot connect to {server}:{port}: {error}"))
        })?;
    // Answers are short and should leave at once.
    let _ = tcp.set_nodelay(true);
    let Tls::On { ca } = tls else {
        return Ok(Box::new(tcp));
    };
    let name = ServerName::try_from(server.to_owned()).map_err(|_| ChannelError::Refused {
        detail: format!("{server:?} is not a name that TLS can check"),
        hint: "write the server's host name or address".into(),
    })?;
    // Reading certificates from disk must not hold up other channels.
    let ca = ca.clone();
    let config = tokio::task::spawn_blocking(move || client_config(ca.as_deref()))
        .await
        .map_err(|error| ChannelError::lost(format!("TLS cannot be set up: {error}")))??;
    let connector = TlsConnector::from(Arc::new(config));
    let encrypted = within(
        CONNECT_TIMEOUT,
        "TLS handshake",
        connector.connect(name, tcp),
    )
    .await?;
    match encrypted {
        Ok(encrypted) => Ok(Box::new(encrypted)),
        Err(error) => Err(tls_error(server, &error)),
    }
}

async fn within<T>(
    limit: Duration,
    what: &str,
    doing: impl Future<Output = T>,
) -> Result<T, ChannelError> {
    let done = tokio::time::timeout(limit, doing).await;
    done.map_err(|_| ChannelError::lost(format!("{what}: no answer within {limit:?}")))
}

fn client_config(ca: Option<&Path>) -> Result<ClientConfig, ChannelError> {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ChannelError::lost(format!("TLS cannot be set up: {error}")))?;
    let builder = match ca {
        Some(ca) => builder.with_root_certificates(authorities(ca)?),
        None => builder
            .with_platform_verifier()
            .map_err(|error| ChannelError::lost(format!("no system authorities: {error}")))?,
    };
    Ok(builder.with_no_client_auth())
}

fn authorities(ca: &Path) -> Result<RootCertStore, ChannelError> {
    let refused = |why: String| ChannelError::Refused {
        detail: format!("cannot read authorities from {}: {why}", ca.display()),
        hint: "`tls_ca` names a PEM file of certificates".into(),
    };
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(ca).map_err(|error| refused(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| refused(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refused("there is no certificate in it".into()));
    }
    Ok(roots)
}

fn tls_error(server: &str, error: &io::Error) -> ChannelError {
    let detail = format!("TLS with {server}: {error}");
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref());
    match cause {
        Some(rustls::Error::InvalidCertificate(_)) => ChannelError::Refused {
            detail,
            hint: "trust the server's authority with `tls_ca`, or correct the server's name".into(),
        },
        Some(rustls::Error::InvalidMessage(_)) => ChannelError::Refused {
            detail,
            hint: "this port may not speak TLS: check `port`, or set `tls = false`".into(),
        },
        _ => ChannelError::Lost { detail },
    }
}

/// Reads lines.
#[derive(Debug)]
pub(super) struct LineReader<R> {
    read: R,
    buffer: BytesMut,
    /// How much of the buffer is known to have no line end.
    scanned: usize,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub(super) fn new(read: R) -> Self {
        Self {
            read,
            buffer: BytesMut::new(),
            scanned: 0,
        }
    }

    /// The next line that is not empty, without its end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<String, ChannelError> {
        loop {
            while let Some(line) = self.buffered()? {
                if !line.is_empty() {
                    return Ok(line);
                }
            }
            match self.read.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(ChannelError::lost("the server closed the connection")),
                Ok(_) => {}
                Err(error) => {
                    return Err(ChannelError::lost(format!("the connection broke: {error}")));
                }
            }
        }
    }

    fn buffered(&mut self) -> Result<Option<String>, ChannelError> {
        let fresh = &self.buffer[self.scanned..];
        let Some(end) = fresh.iter().position(|byte| *byte == b'\n') else {
            self.scanned = self.buffer.len();
            if self.scanned > INBOUND_LINE_MAX {
                return Err(ChannelError::lost("the server sent a line without end"));
            }
            return Ok(None);
        };
        let line = self.buffer.split_to(self.scanned + end + 1);
        self.scanned = 0;
        let line = String::from_utf8_lossy(&line);
        Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// Writes one line.
pub(super) async fn write_line(
    write: &mut (impl AsyncWrite + Unpin),
    line: &str,
) -> Result<(), ChannelError> {
    let broken = |error: io::Error| ChannelError::lost(format!("the connection broke: {error}"));
    write.write_all(&sealed(line)).await.map_err(broken)?;
    write.flush().await.map_err(broken)
}

/// A line as it goes out: one, whatever is in it, and not too long.
fn sealed(line: &str) -> Vec<u8> {
    let end = line.find(['\r', '\n', '\0']).unwrap_or(line.len());
    let end = line.floor_char_boundary(end.min(LINE_MAX - 2));
    let mut bytes = line.as_bytes()[..end].to_vec();
    bytes.extend_from_slice(b"\r\n");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        for line in [
            "PRIVMSG a :x\r\nQUIT",
            "PRIVMSG a :x\nQUIT",
            "PRIVMSG a :x\0QUIT",
            "PRIVMSG a :x",
        ] {
            assert_eq!(sealed(line), b"PRIVMSG a :x\r\n");
        }
        let long = "é".repeat(400);
        assert_eq!(sealed(&long).len(), 512);
        assert_eq!(sealed(&format!("x{long}")).len(), 511, "no half character");
    }

    #[tokio::test]
    async fn lines_are_read_whatever_their_bytes() {
        let bytes: &[u8] = b"one\r\n\r\ntwo\nLatin-1 \xe9\r\n";
        let mut reader = LineReader::new(bytes);
        for expected in ["one", "two", "Latin-1 \u{fffd}"] {
            assert_eq!(reader.next().await.unwrap(), expected);
        }
        assert_eq!(
            reader.next().await,
            Err(ChannelError::lost("the server closed the connection"))
        );
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused() {
        let bytes = vec![b'x'; 10 * INBOUND_LINE_MAX];
        let mut reader = LineReader::new(bytes.as_slice());
        assert!(reader.next().await.is_err());
        assert!(reader.buffer.len() < 4 * INBOUND_LINE_MAX);
    }

    #[test]
    fn a_bad_file_of_authorities_names_itself() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [file.path(), Path::new("/nonexistent/ca.pem")] {
            let Err(ChannelError::Refused { detail, .. }) = authorities(path) else {
                panic!("{} has no certificate", path.display());
            };
            assert!(detail.contains(&path.display().to_string()), "{detail}");
        }
    }
}

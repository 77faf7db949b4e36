//! A real ngircd of our own on loopback, encrypted or not.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running server. Dropping it kills it.
pub struct Server {
    program: PathBuf,
    directory: TempDir,
    child: Child,
    /// Where it listens on loopback.
    pub port: u16,
}

/// What the server asks of its users.
#[derive(Clone, Copy, Default)]
pub struct Terms {
    /// Only encrypted.
    pub tls: bool,
    /// Who does not know it is turned away.
    pub password: Option<&'static str>,
}

impl Server {
    /// Starts one. A test without ngircd fails: it cannot show anything.
    pub async fn start(terms: Terms) -> Self {
        let program = std::env::var_os("KENNEL_TEST_NGIRCD")
            .map_or_else(|| PathBuf::from("/usr/sbin/ngircd"), PathBuf::from);
        assert!(
            program.exists(),
            "{} is missing: run scripts/test, which installs what the tests need (package ngircd)",
            program.display()
        );
        let directory = tempfile::tempdir().expect("a directory");
        // Started by root, ngircd becomes another user, who must be able to read it.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))
            .expect("own directory");
        if terms.tls {
            certificates(directory.path());
        }
        // Somebody else may take the port before ngircd does; then it ends and another port is tried.
        for _ in 0..5 {
            let port = free_port();
            fs::write(
                directory.path().join("ngircd.conf"),
                configuration(directory.path(), port, terms),
            )
            .expect("own directory");
            let mut child = launch(&program, directory.path());
            if ready(&mut child, port).await {
                return Self {
                    program,
                    directory,
                    child,
                    port,
                };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("ngircd does not start: {}", log(directory.path()));
    }

    /// The authority that vouches for the server.
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is our child");
    }

    /// Starts it again on the same port.
    pub async fn restart(&mut self) {
        self.child = launch(&self.program, self.directory.path());
        let ready = ready(&mut self.child, self.port).await;
        assert!(
            ready,
            "ngircd does not return: {}",
            log(self.directory.path())
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

fn launch(program: &Path, directory: &Path) -> Child {
    let log = fs::File::create(directory.join("log")).expect("own directory");
    Command::new(program)
        .arg("--nodaemon")
        .arg("--config")
        .arg(directory.join("ngircd.conf"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log)
        .spawn()
        .expect("ngircd starts")
}

fn log(directory: &Path) -> String {
    fs::read_to_string(directory.join("log")).unwrap_or_default()
}

/// Waits until it listens; false if it ended or takes too long.
async fn ready(child: &mut Child, port: u16) -> bool {
    let listening = async {
        let mut tick = interval(Duration::from_millis(20));
        loop {
            tick.tick().await;
            if child.try_wait().expect("it is our child").is_some() {
                return false;
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .await
                .is_ok()
            {
                return true;
            }
        }
    };
    timeout(PATIENCE, listening).await.unwrap_or(false)
}

fn configuration(directory: &Path, port: u16, terms: Terms) -> String {
    let password = terms
        .password
        .map_or(String::new(), |password| format!("Password = {password}\n"));
    // ngircd does not start with TLS ports alone: without TLS ports, the plain one; with, another that nobody uses.
    let (plain, tls) = if terms.tls {
        let directory = directory.display();
        let tls = format!(
            "[SSL]\nPorts = {port}\nCertFile = {directory}/server.pem\nKeyFile = {directory}/server.key\n"
        );
        (free_port(), tls)
    } else {
        (port, String::new())
    };
    format!(
        "[Global]\nName = irc.test.example\nInfo = test\nListen = 127.0.0.1,127.0.0.2\nPorts = {plain}\n{password}\
         AdminEMail = test@example.org\n\
         [Limits]\nMaxConnectionsIP = 0\nMaxNickLength = 20\nMaxPenaltyTime = 0\n\
         [Options]\nIdent = no\nPAM = no\nDNS = no\n{tls}"
    )
}

/// An authority and a server certificate of it, for `localhost` and 127.0.0.1 but not for 127.0.0.2.
fn certificates(directory: &Path) {
    fs::write(
        directory.join("san"),
        "subjectAltName = DNS:localhost, IP:127.0.0.1\nbasicConstraints = CA:FALSE\n",
    )
    .expect("own directory");
    let authority = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=Test-Authority -keyout ca.key -out ca.pem";
    let request =
        "req -new -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr";
    let signing = "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.pem";
    for arguments in [authority, request, signing] {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(directory)
            .stdin(Stdio::null())
            .output()
            .expect("openssl is installed");
        assert!(
            output.status.success(),
            "openssl {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    for file in ["server.pem", "server.key", "ca.pem"] {
        fs::set_permissions(directory.join(file), Permissions::from_mode(0o644)).expect("own file");
    }
}

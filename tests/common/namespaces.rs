//! Network namespaces that a test makes and takes away again, joined by veth
//! pairs, and programs in them.
//!
//! A test program plays servers itself: [`Namespace::helper`] runs the calling
//! program again, in the namespace, as one of its own ignored tests.

#![allow(dead_code)] // each test program uses a part

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Why namespaces cannot be made here, if they cannot.
pub fn obstacle(programs: &[&str]) -> Option<String> {
    for program in programs.iter().chain(&["ip"]) {
        if !std::env::split_paths(&std::env::var_os("PATH")?).any(|dir| dir.join(program).exists()) {
            return Some(format!("`{program}` is not installed"));
        }
    }
    let probe = Namespace::try_new("probe");
    probe.err().map(|error| format!("no network namespace can be made: {error}"))
}

/// A network namespace with a name that nobody else has; gone when dropped.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one, its loopback interface up and IPv6 without duplicate
    /// detection, so that addresses can be used at once.
    pub fn new(name: &str) -> Self {
        Self::try_new(name).unwrap_or_else(|error| panic!("namespace {name}: {error}"))
    }

    fn try_new(name: &str) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let serial = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bmnic-{}-{serial}-{name}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Namespace { name };
        namespace.sh("ip link set lo up; echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")?;
        Ok(namespace)
    }

    /// Runs lines of shell in it; their output, or what went wrong.
    pub fn sh(&self, lines: &str) -> Result<String, String> {
        run(self.command("sh").args(["-e", "-c", lines]))
    }

    /// As [`Namespace::sh`], and it must succeed.
    pub fn must(&self, lines: &str) -> String {
        self.sh(lines).unwrap_or_else(|error| panic!("{lines}: {error}"))
    }

    /// A command that will run in it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Joins it to another by a veth pair; both ends are up.
    pub fn join(&self, end: &str, other: &Namespace, other_end: &str, mtu: u32) {
        let line = format!(
            "ip link add {end} mtu {mtu} type veth peer name {other_end} mtu {mtu} netns {}; ip link set {end} up",
            other.name
        );
        self.must(&line);
        other.must(&format!("ip link set {other_end} up"));
    }

    /// Runs the ignored test `helper` of the calling program in it, with
    /// `ROLE` in its environment, once it has said that it is ready.
    pub fn helper(&self, role: &str) -> Running {
        let mut command = self.command(std::env::current_exe().unwrap());
        command.args(["--exact", "helper", "--ignored", "--nocapture"]).env("BMNIC_TEST_ROLE", role);
        Running::start(&mut command, "ready")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } = command.output().map_err(|e| e.to_string())?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_string();
    if status.success() { Ok(text(stdout)) } else { Err(format!("{status}: {}", text(stderr))) }
}

/// A program that runs beside the test; killed when dropped.
pub struct Running {
    child: Child,
    what: String,
}

impl Running {
    /// Starts it with its output going to this test's.
    pub fn spawn(command: &mut Command) -> Self {
        let what = format!("{command:?}");
        let child = command.stdin(Stdio::null()).spawn().unwrap_or_else(|e| panic!("{what}: {e}"));
        Running { child, what }
    }

    /// Starts it and waits until it prints `sign`, on either output.
    pub fn start(command: &mut Command, sign: &str) -> Self {
        let mut running = Self::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let (found, signs) = std::sync::mpsc::channel();
        let outputs: [Box<dyn Read + Send>; 2] =
            [Box::new(running.child.stdout.take().unwrap()), Box::new(running.child.stderr.take().unwrap())];
        for output in outputs {
            let (found, sign) = (found.clone(), sign.to_string());
            // Reads on to the end: nobody is to block on a full pipe.
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if line.contains(&sign) {
                        let _ = found.send(());
                    }
                }
            });
        }
        drop(found);
        if signs.recv_timeout(Duration::from_secs(30)).is_err() {
            panic!("{} did not say '{sign}' within 30 s", running.what);
        }
        running
    }

    /// Asks it to end as Ctrl-C does.
    pub fn interrupt(&self) {
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
    }

    /// Waits for its end, which must come in time; its exit code.
    pub fn wait(mut self, patience: Duration) -> Option<i32> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{} did not end within {patience:?}", self.what);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

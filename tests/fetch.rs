//! Downloads from a server of our own: what arrives, what is refused, and that nothing half is ever left behind.

use espalier::io::fetch::{Remote, fetch, sha256};
use espalier::models::{Model, zoo};
use espalier::report::Show;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, atomic::AtomicUsize, atomic::Ordering};
use std::thread::{sleep, spawn};
use std::{fs, time::Duration};

const BODY: &[u8] = b"weights, weights and more weights";

/// What the server does with a request: the pieces of its answer, each after a pause; then it closes, or stays silent.
#[derive(Clone)]
struct Answer {
    pieces: Vec<Vec<u8>>,
    pause: Duration,
    silent: bool,
}

impl Answer {
    fn new(head: &str, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
        Self { pieces: vec![head.into_bytes(), body.to_vec()], pause: Duration::ZERO, silent: false }
    }

    fn whole(body: &[u8]) -> Self {
        Self::new(&format!("200 OK\r\nContent-Length: {}", body.len()), body)
    }

    fn give(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut request = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        while request.read_line(&mut line)? > 0 && !line.ends_with("\r\n\r\n") {}
        for piece in &self.pieces {
            sleep(self.pause);
            stream.write_all(piece)?;
            stream.flush()?;
        }
        if self.silent {
            request.read_line(&mut line)?; // until the client has had enough
        }
        Ok(())
    }
}

/// A server that gives the same answer to everyone, and counts.
struct Server {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/models/file.pth", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                // a client that has had enough closes early
                let _ = answer.give(stream.unwrap());
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The SHA-256 of [`BODY`] is known by another implementation.
const SHA256: &str = "4a495df13b78894c226c444735019ee4f5cbca27523d8646554fef1f4fd85532";

/// The names in a folder: neither half a file nor a temporary one may be among them.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Fetches into an empty folder, where nothing is left; the message.
fn refused(remote: &Remote) -> String {
    let folder = tempfile::tempdir().unwrap();
    let message = fetch(remote, &folder.path().join("below/file.pth"), Show::Quiet).unwrap_err().to_string();
    assert_eq!(names(&folder.path().join("below")), [""; 0], "{message}");
    message
}

#[test]
fn a_file_arrives_and_is_not_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let (server, file) = (Server::start(Answer::whole(BODY)), folder.path().join("below/file.pth"));
    let remote = Remote::new(&server.url, Some(&SHA256[..8]));
    assert!(fetch(&remote, &file, Show::Quiet).unwrap());
    assert_eq!((fs::read(&file).unwrap(), sha256(&file).unwrap().as_str()), (BODY.to_vec(), SHA256));
    assert!(!fetch(&remote, &file, Show::Quiet).unwrap());
    assert_eq!(server.asked(), 1);
    // a damaged one is, and so is one of which no checksum is known
    fs::write(&file, "damaged").unwrap();
    let capitals = SHA256.to_uppercase();
    assert!(fetch(&Remote::new(&server.url, Some(&capitals)), &file, Show::Quiet).unwrap());
    assert!(fetch(&Remote::new(&server.url, None), &file, Show::Quiet).unwrap());
    assert_eq!((server.asked(), fs::read(&file).unwrap()), (3, BODY.to_vec()));
    assert_eq!(names(file.parent().unwrap()), ["file.pth"]);
}

#[test]
fn the_length_may_be_unknown_and_the_server_slow() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file.pth");
    let chunks: Vec<Vec<u8>> =
        BODY.chunks(9).map(|part| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat()).collect();
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let pieces = [vec![head], chunks, vec![b"0\r\n\r\n".to_vec()]].concat();
    let server = Server::start(Answer { pieces, pause: Duration::from_millis(20), silent: false });
    assert!(fetch(&Remote::new(&server.url, Some(SHA256)), &file, Show::Quiet).unwrap());
    assert_eq!(fs::read(&file).unwrap(), BODY);
}

#[test]
fn a_wrong_checksum_leaves_what_was_there() {
    let server = Server::start(Answer::whole(BODY));
    let message = refused(&Remote::new(&server.url, Some("00000000")));
    assert!(
        message.contains("checksum") && message.contains("begins with 00000000, found") && message.contains(SHA256)
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file.pth");
    fs::write(&file, "older").unwrap();
    assert!(fetch(&Remote::new(&server.url, Some("00000000")), &file, Show::Quiet).is_err());
    assert_eq!((fs::read(&file).unwrap(), names(folder.path())), (b"older".to_vec(), vec!["file.pth".to_string()]));
    for digits in ["", "xyz", &"0".repeat(65)] {
        assert!(refused(&Remote::new(&server.url, Some(digits))).contains("hexadecimal"), "{digits}");
    }
}

#[test]
fn half_a_body_a_missing_page_and_silence_are_refused() {
    let half = Server::start(Answer::new(&format!("200 OK\r\nContent-Length: {}", BODY.len()), &BODY[..7]));
    let message = refused(&Remote::new(&half.url, None));
    assert!(message.contains(&format!("7 of {} bytes", BODY.len())) && message.contains(&half.url), "{message}");
    let missing = Server::start(Answer::new("404 Not Found\r\nContent-Length: 4", b"gone"));
    assert!(refused(&Remote::new(&missing.url, None)).contains("404 Not Found"));
    let silent = Answer { silent: true, ..Answer::new("200 OK\r\nContent-Length: 99", BODY) };
    let silent = Server::start(silent);
    let message = refused(&Remote { patience: Duration::from_millis(300), ..Remote::new(&silent.url, None) });
    assert!(message.contains(&format!("{} of 99 bytes", BODY.len())), "{message}");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(
        refused(&Remote::new(&format!("http://{nobody}/x.pth"), None)).contains("cannot download http://127.0.0.1")
    );
    let garbage =
        Server::start(Answer { pieces: vec![b"hello\r\n\r\n".to_vec()], pause: Duration::ZERO, silent: false });
    assert!(refused(&Remote::new(&garbage.url, None)).contains("cannot download"));
}

#[test]
fn redirects_are_followed_but_not_to_plain_http() {
    let folder = tempfile::tempdir().unwrap();
    let (target, file) = (Server::start(Answer::whole(BODY)), folder.path().join("file.pth"));
    let moved =
        |to: &str| Server::start(Answer::new(&format!("302 Found\r\nContent-Length: 0\r\nLocation: {to}"), b""));
    let host = target.url.strip_prefix("http:").unwrap();
    for to in [target.url.as_str(), host] {
        assert!(fetch(&Remote::new(&moved(to).url, None), &file, Show::Quiet).unwrap());
        assert_eq!(fs::read(&file).unwrap(), BODY);
    }
    for (to, word) in [
        ("http://example.invalid/file.pth", "expected an https address, found http://example.invalid"),
        ("ftp://127.0.0.1/file.pth", "expected an https address"),
        ("", "redirects to \"\""),
        ("again", "more than 10 redirects"),
        ("/again", "more than 10 redirects"),
    ] {
        let server = moved(to);
        let message = refused(&Remote { plain: true, ..Remote::new(&server.url, None) });
        assert!(message.contains(word), "{to}: {message}");
    }
    for url in
        ["http://example.invalid/x.pth", "http://localhost@example.invalid/x", "file.pth", "file:///etc/passwd", ""]
    {
        let message = refused(&Remote::new(url, None));
        assert!(message.contains("cannot download"), "{url}: {message}");
    }
}

/// The program with a cache folder of its own.
fn espalier(cache: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_espalier")).args(args).env("XDG_CACHE_HOME", cache).output().unwrap()
}

#[test]
fn the_program_fetches_and_then_classifies() {
    let cache = tempfile::tempdir().unwrap();
    let entry = zoo::find("deit_tiny_patch16_224").unwrap();
    let served = cache.path().join("served.pth");
    Model::init(entry.architecture, 0).unwrap().save_pth(&served).unwrap();
    let (body, checksum) = (fs::read(&served).unwrap(), sha256(&served).unwrap());
    let server = Server::start(Answer::whole(&body));
    let image = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images/grey.jpg");
    let classify = || espalier(cache.path(), &["classify", "--model", "deit_tiny_patch16_224", image]);
    let errors = |output: &Output| String::from_utf8(output.stderr.clone()).unwrap();
    let early = classify();
    assert!(early.status.code() == Some(1) && errors(&early).contains("espalier fetch deit_tiny_patch16_224"));
    // the official digits are not those of random weights
    let fetch = |more: &[&str]| {
        espalier(cache.path(), &[&["fetch", "deit_tiny_patch16_224", "--url", &server.url], more].concat())
    };
    let output = fetch(&[]);
    assert!(output.status.code() == Some(1) && errors(&output).contains("a1311bcf"), "{}", errors(&output));
    let file = cache.path().join("espalier/models/deit_tiny_patch16_224-a1311bcf.pth");
    assert!(!file.exists());
    let output = fetch(&["--sha256", &checksum[..12]]);
    assert!(output.status.success() && errors(&output).contains("(100 %)"), "{}", errors(&output));
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), file.to_str().unwrap());
    assert!(errors(&fetch(&["--sha256", &checksum])).contains("there already") && server.asked() == 2);
    let output = classify();
    assert!(output.status.success() && !output.stdout.is_empty(), "{}", errors(&output));
    let other = cache.path().join("other");
    assert!(fetch(&["--sha256", &checksum, "--quiet", "--out", other.to_str().unwrap()]).status.success());
    assert_eq!(names(&other), ["deit_tiny_patch16_224-a1311bcf.pth"]);
    let output = espalier(cache.path(), &["fetch", "savit_deit_tiny"]);
    assert!(output.status.code() == Some(1) && errors(&output).contains("--url"), "{}", errors(&output));
}

/// A disk that takes no more (here a limit on the size of files) and a folder that cannot be made are told, and nothing stays.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told() {
    let server = Server::start(Answer::whole(&vec![7; 3 << 20]));
    let message = fetch(&Remote::new(&server.url, None), Path::new("/dev/full/file.pth"), Show::Quiet).unwrap_err();
    assert!(message.to_string().contains("/dev/full"), "{message}");
    let folder = tempfile::tempdir().unwrap();
    let limited = |work: &str| {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("trap '' XFSZ; ulimit -f 64; {work}")).arg(env!("CARGO_BIN_EXE_espalier"));
        shell.arg(&server.url).arg(folder.path()).output().unwrap()
    };
    // not every system keeps to the limit: then the checksum is what goes wrong
    let kept = !limited("head -c 1000000 /dev/zero > \"$2/probe\"").status.success();
    fs::remove_file(folder.path().join("probe")).unwrap();
    let why = if kept { "error: cannot write" } else { "checksum" };
    let output = limited("exec \"$0\" fetch deit_tiny_patch16_224 --sha256 0 --url \"$1\" --out \"$2\"");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && errors.contains(why), "{errors}");
    assert_eq!(names(folder.path()), [""; 0]);
}

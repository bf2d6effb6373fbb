//! Downloads: a file of somebody's server arrives whole and with the right checksum, or not at all.

use super::atomic;
use crate::error::FileProblem;
use crate::report::{Progress, Show, progress::Unit};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::{fs, fs::File, path::Path, time::Duration};
use ureq::http::{Response, Uri, header::LOCATION};
use ureq::{Agent, Body};

const REDIRECTS: usize = 10;

/// Where a file comes from, and how it is known.
#[derive(Debug, Clone)]
pub struct Remote<'a> {
    /// Its address: `https://`, or `http://` of this machine.
    pub url: &'a str,
    /// Hexadecimal digits that its SHA-256 begins with.
    pub sha256: Option<&'a str>,
    /// Takes `http://` of other machines, too, if the address itself says it; redirects may never lead there.
    pub plain: bool,
    /// How long a server may be silent.
    pub patience: Duration,
}

impl<'a> Remote<'a> {
    /// A file of which `sha256` is known, from servers that may be silent for a minute.
    pub fn new(url: &'a str, sha256: Option<&'a str>) -> Self {
        Self { url, sha256, plain: false, patience: Duration::from_secs(60) }
    }
}

/// Downloads `remote` to `file`, whose folder is made; false when it was there with the right checksum already. The file
/// gets its name once all has arrived, has the length that the server said and the checksum that is known; on any error
/// what was there before stays. Errors: [`Error::Network`], [`Error::File`] (checksum, truncated), [`Error::Io`].
pub fn fetch(remote: &Remote, file: &Path, show: Show) -> Result<bool> {
    let prefix = remote.sha256.map(str::to_ascii_lowercase);
    if let Some(prefix) = &prefix {
        let digits = (1..=64).contains(&prefix.len()) && prefix.bytes().all(|digit| digit.is_ascii_hexdigit());
        Error::ensure(digits, "SHA-256", "1 to 64 hexadecimal digits", prefix)?;
        if file.is_file() && sha256(file)?.starts_with(prefix.as_str()) {
            return Ok(false);
        }
    }
    let mut body = open(remote)?.into_body();
    let total = body.content_length();
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), |folder| fs::create_dir_all(folder).map_err(Error::io("create", folder)))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let progress = Progress::over(total.unwrap_or(0), Unit::Bytes, &name, show);
    atomic::replace(file, |writer| {
        let (mut hash, mut done, mut reader) = (Sha256::new(), 0, body.as_reader());
        let mut buffer = vec![0; 1 << 16];
        loop {
            let broken = |error| cut(remote.url, done, total, error);
            let count = reader.read(&mut buffer).map_err(broken)?;
            if count == 0 {
                break;
            }
            writer.write_all(&buffer[..count]).map_err(Error::io("write", file))?;
            hash.update(&buffer[..count]);
            done += count as u64;
            progress.inc(count as u64);
        }
        if total.is_some_and(|total| total != done) {
            return Err(cut(remote.url, done, total, "the connection was closed"));
        }
        check(remote.url, &hex(hash), prefix.as_deref())
    })?;
    Ok(true)
}

/// An error of a body that ended early.
fn cut(url: &str, done: u64, total: Option<u64>, why: impl std::fmt::Display) -> Error {
    let total = total.map_or("an unknown number of".into(), |total| total.to_string());
    Error::network(url, format_args!("{done} of {total} bytes arrived: {why}"))
}

fn check(what: &str, found: &str, prefix: Option<&str>) -> Result<()> {
    let Some(prefix) = prefix.filter(|prefix| !found.starts_with(prefix)) else { return Ok(()) };
    let detail = format!("expected a SHA-256 that begins with {prefix}, found {found}");
    Err(Error::File { file: what.into(), problem: FileProblem::Checksum, detail })
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of a file in hexadecimal digits.
pub fn sha256(file: &Path) -> Result<String> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    let mut reader = File::open(file).map_err(Error::io("open", file))?;
    loop {
        match reader.read(&mut buffer).map_err(Error::io("read", file))? {
            0 => return Ok(hex(hash)),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// The answer of the server that the redirects end at; its status is 200.
fn open(remote: &Remote) -> Result<Response<Body>> {
    let failed = |why: &dyn std::fmt::Display| Error::network(remote.url, why);
    let mut uri: Uri = remote.url.parse().map_err(|error| failed(&error))?;
    ensure_private(remote.url, &uri, remote.plain)?;
    for _ in 0..=REDIRECTS {
        let response = agent(&uri, remote.patience).get(uri.clone()).call().map_err(|error| failed(&error))?;
        let status = response.status();
        if !status.is_redirection() {
            let expected = format_args!("the server answers {status}, not 200 OK");
            return if status == 200 { Ok(response) } else { Err(failed(&expected)) };
        }
        let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("");
        let next = resolve(&uri, to).ok_or_else(|| failed(&format_args!("the server redirects to {to:?}")))?;
        // who asked for an encrypted connection gets no other
        ensure_private(remote.url, &next, false)?;
        let kept = uri.scheme_str() != Some("https") || next.scheme_str() == Some("https");
        if !kept {
            return Err(failed(&format_args!("the server redirects from https to {next}")));
        }
        uri = next;
    }
    Err(failed(&format_args!("more than {REDIRECTS} redirects")))
}

/// This machine is asked directly, others by the proxy that the environment names.
fn agent(uri: &Uri, patience: Duration) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("espalier/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(patience))
        .timeout_recv_response(Some(patience))
        .timeout_per_read(Some(patience));
    if is_local(uri) { config.proxy(None).build().new_agent() } else { config.build().new_agent() }
}

fn is_local(uri: &Uri) -> bool {
    matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// Refuses an address that others could read or change on the way.
fn ensure_private(url: &str, uri: &Uri, plain: bool) -> Result<()> {
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if plain || is_local(uri) => Ok(()),
        _ => Err(Error::network(url, format_args!("expected an https address, found {uri}"))),
    }
}

/// Where a redirect from `uri` leads; none for what is no address.
fn resolve(uri: &Uri, to: &str) -> Option<Uri> {
    let (scheme, host, path) = (uri.scheme_str()?, uri.authority()?, uri.path());
    let folder = path.rfind('/').map_or("/", |end| &path[..=end]);
    let absolute = match to {
        "" => return None,
        to if to.contains("://") => to.to_string(),
        to if to.starts_with("//") => format!("{scheme}:{to}"),
        to if to.starts_with('/') => format!("{scheme}://{host}{to}"),
        to => format!("{scheme}://{host}{folder}{to}"),
    };
    absolute.parse().ok().filter(|uri: &Uri| uri.host().is_some())
}

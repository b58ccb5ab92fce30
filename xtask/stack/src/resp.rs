//! Just enough of Redis's protocol to start servers: one command, one flat reply.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail};

const TIMEOUT: Duration = Duration::from_secs(5);
/// More than any INFO or CLUSTER reply.
const REPLY_MAX_BYTES: u64 = 1 << 20;

/// Sends `words` to the server on 127.0.0.1:`port` and answers its reply as text: strings as they
/// are, integers in digits, nil as an empty text. An error reply is an error.
pub(crate) fn command(port: u16, words: &[&str]) -> Result<String> {
    command_as(port, None, words)
}

/// The same after giving the password, if there is one.
pub(crate) fn command_as(port: u16, password: Option<&str>, words: &[&str]) -> Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    if let Some(password) = password {
        stream.write_all(request(&["AUTH", password])?.as_bytes())?;
    }
    stream.write_all(request(words)?.as_bytes())?;
    let mut reader = BufReader::new(stream.take(REPLY_MAX_BYTES));
    if password.is_some() {
        reply(&mut reader, "AUTH")?;
    }
    reply(&mut reader, &words.join(" "))
}

fn request(words: &[&str]) -> Result<String> {
    use std::fmt::Write as _;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        write!(request, "${}\r\n{word}\r\n", word.len())?;
    }
    Ok(request)
}

fn reply(reader: &mut impl BufRead, asked: &str) -> Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let (kind, rest) = line.trim_end().split_at_checked(1).unwrap_or_default();
    match kind {
        "+" | ":" => Ok(rest.to_owned()),
        "$" if rest.starts_with('-') => Ok(String::new()),
        "$" => {
            let mut bytes = vec![0; rest.parse::<usize>()?.min(1 << 20)];
            reader.read_exact(&mut bytes)?;
            // The line's end belongs to this reply, not to the next.
            reader.read_exact(&mut [0; 2])?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        "-" => bail!("{asked} answered {rest}"),
        _ => bail!("{asked} answered something unexpected"),
    }
}

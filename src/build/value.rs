//! Values that BuildKit judges while it follows the instructions, and that stop a build when they make no sense: signals,
//! ports, modes, checksums (`dispatchStopSignal`, `dispatchExpose`, `dispatchCopy` in `frontend/dockerfile/dockerfile2llb`).
//!
//! Each function says what is wrong with a value, without full stop.

/// Names of signals without `SIG`, real-time ones aside (`moby/sys/signal`, Linux).
const SIGNALS: [&str; 34] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];

/// STOPSIGNAL: any number but 0, or a name with or without `SIG`.
pub(super) fn signal(text: &str) -> Result<(), String> {
    let known = match text.parse::<i64>() {
        Ok(number) => number != 0,
        Err(_) => {
            let upper = text.to_uppercase();
            let name = upper.strip_prefix("SIG").unwrap_or(&upper);
            SIGNALS.contains(&name) || is_real_time(name)
        }
    };
    if known { Ok(()) } else { Err(format!("`{text}` is no signal")) }
}

/// `RTMIN`, `RTMIN+1` to `RTMIN+15`, `RTMAX-14` to `RTMAX-1`, `RTMAX`.
fn is_real_time(name: &str) -> bool {
    let offset = |rest: &str, sign, last: u32| match rest.strip_prefix(sign) {
        None => rest.is_empty(),
        Some(digits) => {
            !digits.starts_with(['0', '+']) && digits.parse().is_ok_and(|n: u32| (1..=last).contains(&n))
        }
    };
    name.strip_prefix("RTMIN").is_some_and(|rest| offset(rest, '+', 15))
        || name.strip_prefix("RTMAX").is_some_and(|rest| offset(rest, '-', 14))
}

/// EXPOSE: `[[IP:]HOST:]PORTS[/PROTOCOL]`, where ports are a number or a range.
pub(super) fn port(text: &str) -> Result<(), String> {
    let refuse = |why: String| Err(format!("`{text}` is no port: {why}"));
    let mut parts = text.rsplitn(3, ':');
    let last = parts.next().unwrap_or_default();
    let host = parts.next().unwrap_or_default();
    let address = parts.next().unwrap_or_default();
    let (ports, protocol) = last.split_once('/').unwrap_or((last, ""));
    if ports.is_empty() {
        return refuse("there is no number".to_owned());
    }
    if !["", "tcp", "udp", "sctp"].contains(&protocol.to_lowercase().as_str()) {
        return refuse(format!("the protocol is tcp, udp or sctp, not `{protocol}`"));
    }
    if !address.is_empty() {
        let plain = match address.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']'),
            None => Some(address),
        };
        if plain.is_none_or(|a| a.parse::<std::net::IpAddr>().is_err()) {
            return refuse(format!("`{address}` is no IP address"));
        }
    }
    let Some((start, end)) = range(ports) else {
        return refuse(format!("`{ports}` is neither a number from 0 to 65535 nor a range of them"));
    };
    if !host.is_empty() {
        let Some((host_start, host_end)) = range(host) else {
            return refuse(format!("`{host}` is neither a number from 0 to 65535 nor a range of them"));
        };
        if end - start != host_end - host_start && end != start {
            return refuse(format!("`{host}` and `{ports}` have not the same length"));
        }
    }
    Ok(())
}

/// First and last port of `8000` or `8000-8010`.
fn range(text: &str) -> Option<(i64, i64)> {
    let number = |t: &str| t.parse::<i64>().ok().filter(|n| (0..=65535).contains(n));
    let Some((start, end)) = text.split_once('-') else {
        let port = number(text)?;
        return Some((port, port));
    };
    let (first, last) = (number(start)?, number(end)?);
    (first <= last).then_some((first, last))
}

/// `--chmod`: octal up to 7777, or symbols as chmod(1) takes them (`tonistiigi/dchapes-mode`).
pub(super) fn mode(text: &str) -> Result<(), String> {
    let valid = if text.starts_with(|c: char| c.is_ascii_digit()) {
        u32::from_str_radix(text, 8).is_ok_and(|mode| mode <= 0o7777)
    } else {
        text.split(',').all(is_clause)
    };
    if valid { Ok(()) } else { Err(format!("`{text}` is no mode: write it like 0755 or u=rwX,go=rX")) }
}

/// `[ugoa]*` and one or more of `[-+=]` with permissions.
fn is_clause(text: &str) -> bool {
    let actions = text.trim_start_matches(['a', 'u', 'g', 'o']);
    let known = |c: char| matches!(c, '+' | '-' | '=' | 'r' | 'w' | 'x' | 'X' | 's' | 't' | 'u' | 'g' | 'o');
    actions.starts_with(['+', '-', '=']) && actions.chars().all(known)
}

/// `--checksum` of a download: `sha256:` and 64 hexadecimal digits, or the longer ones (`opencontainers/go-digest`).
pub(super) fn digest(text: &str) -> Result<(), String> {
    let length = |algorithm: &str| match algorithm {
        "sha256" => Some(64),
        "sha384" => Some(96),
        "sha512" => Some(128),
        _ => None,
    };
    let valid = text.split_once(':').is_some_and(|(algorithm, hex)| {
        length(algorithm) == Some(hex.len()) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    });
    if valid {
        Ok(())
    } else {
        Err(format!("`{text}` is no checksum: write it like sha256:…, 64 digits in lower case"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_a_name_or_a_number() {
        for good in
            ["SIGTERM", "term", "sigquit", "9", "-3", "+15", "SIGRTMIN", "RTMIN+15", "SIGRTMAX-14", "1000"]
        {
            assert_eq!(signal(good), Ok(()), "{good}");
        }
        for bad in
            ["", "0", "SIGSIGTERM", "SIGFOO", "RTMIN+16", "RTMIN+0", "RTMIN-1", "RTMAX-15", "15 ", "9.0"]
        {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_are_numbers_and_ranges_with_a_known_protocol() {
        for good in [
            "80",
            "80/tcp",
            "80/UDP",
            "80/",
            "8000-8010",
            "80-80",
            "8080:80",
            "127.0.0.1:8080:80",
            "[::1]:80:80",
            "::1:80:80",
            "8000-8010:9000-9010",
            "8000-8010:80",
            "+80",
            "0",
            ":80",
        ] {
            assert_eq!(port(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "http",
            "80/icmp",
            "/tcp",
            "65536",
            "-80",
            "80-",
            "90-80",
            "80:",
            "x:80:80",
            "[::1:80:80",
            "a:80",
            "8000-8010:9000-9001",
            "80 81",
            "0x50",
        ] {
            assert!(port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_are_octal_or_symbols() {
        for good in ["0", "644", "07777", "u=rwX,go=rX", "+x", "a-w", "u+s,+t", "=", "g=u", "u+x-w"] {
            assert_eq!(mode(good), Ok(()), "{good}");
        }
        for bad in ["", "8", "10000", "0o755", "rwxr-xr-x", "u", "u=rwx,", "u+q", "-1", "+644"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn checksums_say_how_they_are_made() {
        assert_eq!(digest(&format!("sha256:{}", "0a".repeat(32))), Ok(()));
        for bad in ["", "sha256:", "sha256:AB", "md5:d41d8cd98f00b204e9800998ecf8427e", "0a0a"] {
            assert!(digest(bad).is_err(), "{bad}");
        }
    }
}

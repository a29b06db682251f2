//! What the words of a command line are that stand behind no option: cards, the file, the
//! expression.
//!
//! ```text
//!   capture eth0 emu:x710  out.pcap  udp port 53
//!           cards          file      expression      any of them may be missing
//! ```
//!
//! A word is a card by its form (`emu:82599`, `0000:03:00.0`) or as an interface that is there, a
//! file by its form (a slash, the ending of a capture file, `-`) or as one that is there, and
//! begins an expression as a word or sign of that language. What is none of them, or two, is
//! refused with how to say which: a file is only made where one was meant.

use crate::error::{Error, Kind, Result};
use crate::packet::Filter;
use crate::pci::Address;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// How cards begin that are no PCI functions.
const CARDS: [&str; 3] = ["emu:", "packet:", "xdp:"];

/// How the names of capture files end, before the numbers that tcpdump puts behind.
const ENDINGS: [&str; 9] = ["pcap", "pcapng", "cap", "dmp", "dump", "trace", "ntar", "gz", "zst"];

/// What words say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The cards.
    pub devices: Vec<String>,
    /// The file.
    pub file: Option<PathBuf>,
    /// The expression.
    pub expression: String,
}

/// What is on this machine.
pub struct There<'a> {
    /// Whether there is an interface of this name.
    pub interface: &'a dyn Fn(&str) -> bool,
    /// Whether there is a file at this path.
    pub file: &'a dyn Fn(&Path) -> bool,
}

/// What a word can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Card,
    File,
    Expression,
}

/// Reads the words. `named`: an option names the file, and no word is one.
///
/// # Errors
/// [`Kind::Usage`] for the first word that may be two of them, or none.
pub fn read(words: &[OsString], named: bool, there: &There<'_>) -> Result<Said> {
    let mut said = Said::default();
    let mut rest = words;
    while let Some((word, behind)) = rest.split_first() {
        match what(word, named, there)? {
            Some(What::Card) => said.devices.push(word.to_string_lossy().into_owned()),
            Some(What::File) if !named => {
                said.file = Some(word.into());
                rest = behind;
                break;
            }
            Some(_) => break,
            // What it says of a word is more than that it is no expression.
            None if named => break,
            None => return Err(nothing(word)),
        }
        rest = behind;
    }
    let words: Vec<_> = rest.iter().map(|word| word.to_string_lossy()).collect();
    said.expression = words.join(" ");
    Ok(said)
}

/// What a word is; none if it is nothing that is known.
fn what(word: &OsStr, named: bool, there: &There<'_>) -> Result<Option<What>> {
    let text = word.to_string_lossy();
    let path = Path::new(word);
    if CARDS.iter().any(|form| text.starts_with(form)) || text.parse::<Address>().is_ok() {
        return Ok(Some(What::Card));
    }
    if text == "-" || text.contains('/') && !Filter::may_begin(&text) {
        return Ok(Some(What::File));
    }
    // A name with a slash or dots is no interface's, and would be looked for elsewhere.
    let card = !text.is_empty() && !text.starts_with('.') && !text.contains('/') && (there.interface)(&text);
    let expression = Filter::may_begin(&text);
    let file = !named && (is_called_so(path) || !text.is_empty() && (there.file)(path));
    match (card, file, expression) {
        (false, false, false) => Ok(None),
        (true, false, false) => Ok(Some(What::Card)),
        // An ending is no word of an expression.
        (false, true, _) if is_called_so(path) => Ok(Some(What::File)),
        (false, true, false) => Ok(Some(What::File)),
        (false, false, true) => Ok(Some(What::Expression)),
        _ => Err(both(&text, card, file, expression)),
    }
}

/// Whether it ends as capture files do: `out.pcap`, `out.pcap12`, `out.pcap.gz`.
fn is_called_so(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    ENDINGS.contains(&ending.trim_end_matches(|c: char| c.is_ascii_digit()).to_ascii_lowercase().as_str())
}

/// The error of a word that is nothing.
fn nothing(word: &OsStr) -> Error {
    let word = word.display();
    let line = format!(
        "'{word}' is no card here, no capture file by its name (out.pcap), and begins no expression; `-w {word}` writes that file, `bmnic list` shows cards"
    );
    Error::new(Kind::Usage, line)
}

/// The error of a word that is two things.
fn both(word: &str, card: bool, file: bool, expression: bool) -> Error {
    // An expression is one word to -f.
    let how = |option: &str, word: &str| match option {
        "-f" => format!("-f '{word} ...'"),
        _ => format!("{option} {word}"),
    };
    let all = [
        (card, "an interface of this machine", "-i"),
        (file, "a file", "-w"),
        (expression, "a word of expressions", "-f"),
    ];
    let all = all.into_iter().filter(|(is, ..)| *is);
    let (what, how): (Vec<_>, Vec<_>) = all.map(|(_, what, option)| (what, how(option, word))).unzip();
    Error::new(Kind::Usage, format!("'{word}' is {}; say which with {}", what.join(" and "), how.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a machine with interfaces eth0, eth0.5, ip and two.pcap, and files `old`, `udp` and `ip`.
    fn read(words: &[&str], named: bool) -> Result<Said> {
        let words: Vec<OsString> = words.iter().map(Into::into).collect();
        let interface = |name: &str| ["eth0", "eth0.5", "ip", "two.pcap"].contains(&name);
        let file = |path: &Path| ["old", "udp", "ip"].iter().any(|name| path == Path::new(name));
        super::read(&words, named, &There { interface: &interface, file: &file })
    }

    #[test]
    fn words_are_cards_then_a_file_then_an_expression() {
        for (words, devices, file, expression) in [
            (&[][..], &[][..], None, ""),
            (&["out.pcap"], &[], Some("out.pcap"), ""),
            (&["OUT.PCAPNG", "tcp", "port", "80"], &[], Some("OUT.PCAPNG"), "tcp port 80"),
            (&["a.pcap12"], &[], Some("a.pcap12"), ""),
            (&["10.pcap.gz"], &[], Some("10.pcap.gz"), ""),
            (&["./out"], &[], Some("./out"), ""),
            (&["/dev/null", "udp"], &[], Some("/dev/null"), "udp"),
            (&["old"], &[], Some("old"), ""),
            (&["-", "ip"], &[], Some("-"), "ip"),
            (&["eth0"], &["eth0"], None, ""),
            (&["eth0.5"], &["eth0.5"], None, ""),
            (&["emu:82599,wire=pcap:/tmp/x.pcap"], &["emu:82599,wire=pcap:/tmp/x.pcap"], None, ""),
            (&["packet:lo", "xdp:eth0"], &["packet:lo", "xdp:eth0"], None, ""),
            (&["03:00.0", "0000:03:00.1", "out.pcap", "arp"], &["03:00.0", "0000:03:00.1"], Some("out.pcap"), "arp"),
            (&["eth0", "udp port 53"], &["eth0"], None, "udp port 53"),
            (&["tcp"], &[], None, "tcp"),
            (&["(tcp", "or", "arp)"], &[], None, "(tcp or arp)"),
            (&["!", "arp"], &[], None, "! arp"),
            (&["10.0.0.1"], &[], None, "10.0.0.1"),
            (&["2001:db8::1"], &[], None, "2001:db8::1"),
            (&["not", "port", "22"], &[], None, "not port 22"),
        ] {
            let said = read(words, false).unwrap();
            let found = (said.devices, said.file.as_deref().and_then(Path::to_str), said.expression.as_str());
            assert_eq!(found, (devices.iter().map(ToString::to_string).collect(), file, expression), "{words:?}");
        }
    }

    #[test]
    fn where_an_option_names_the_file_no_word_is_one() {
        for (words, devices, expression) in [
            (&["eth0"][..], &["eth0"][..], ""),
            (&["emu:x710", "udp"], &["emu:x710"], "udp"),
            (&["udp", "port", "53"], &[], "udp port 53"),
            (&["old"], &[], "old"),
            (&["somebody.example.org"], &[], "somebody.example.org"),
        ] {
            let said = read(words, true).unwrap();
            assert_eq!(
                (said.devices, said.file, said.expression.as_str()),
                (devices.iter().map(ToString::to_string).collect(), None, expression),
                "{words:?}"
            );
        }
    }

    #[test]
    fn a_word_that_is_two_things_or_none_is_refused_with_how_to_say_which() {
        for (words, part) in [
            (&["out"][..], "`-w out` writes that file"),
            (&["eth9"], "'eth9' is no card here"),
            (&[""], "'' is no card here"),
            (&["eth0", "out"], "'out' is no card here"),
            (&["www.example.com"], "no capture file by its name"),
            (&["udp"], "'udp' is a file and a word of expressions; say which with -w udp or -f 'udp ...'"),
            (&["two.pcap"], "an interface of this machine and a file; say which with -i two.pcap or -w two.pcap"),
            (&["ip"], "an interface of this machine and a file and a word of expressions; say which with -i ip"),
        ] {
            let error = read(words, false).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains(part) && !error.to_string().contains('\n'), "{words:?}: {error}");
        }
        assert!(read(&["ip"], true).unwrap_err().to_string().ends_with("with -i ip or -f 'ip ...'"));
    }
}

//! Words without what tells one machine, or one card of a kind, from another.

/// The text without these names, and without Ethernet and PCI addresses.
pub fn nameless(text: &str, names: &[String]) -> String {
    let mut text = text.to_string();
    for (n, name) in names.iter().enumerate() {
        text = text.replace(name.as_str(), if n == 0 { "DEV" } else { "PEER" });
    }
    let mut out = String::with_capacity(text.len());
    // Both kinds of address are of these characters.
    let inside = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.' | '-');
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let len = match inside(first) {
            true => rest.find(|c| !inside(c)).unwrap_or(rest.len()),
            false => rest.find(inside).unwrap_or(rest.len()),
        };
        let (word, behind) = rest.split_at(len);
        let bare = word.trim_end_matches([':', '.', '-']);
        match inside(first) && (is_mac(bare) || is_pci(bare)) {
            true => out.extend(["ADDRESS", &word[bare.len()..]]),
            false => out.push_str(word),
        }
        rest = behind;
    }
    out
}

/// `02:00:00:00:00:01`, or with dashes.
fn is_mac(word: &str) -> bool {
    [':', '-'].into_iter().any(|between| {
        let parts: Vec<&str> = word.split(between).collect();
        parts.len() == 6 && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
    })
}

/// `0000:03:00.0`, or without its domain.
fn is_pci(word: &str) -> bool {
    let short = |word: &str| format!("0000:{word}").parse::<crate::pci::Address>().is_ok();
    word.contains('.') && word.contains(':') && (word.parse::<crate::pci::Address>().is_ok() || short(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_left_out_and_the_rest_is_kept() {
        let names = ["emu:cx5,mac=02:ab:cd:ef:12:34".to_string(), "0000:04:00.1".to_string()];
        for (text, nothing) in [
            ("emu:cx5,mac=02:ab:cd:ef:12:34: no link after 1.0 s", "DEV: no link after 1.0 s"),
            ("0000:04:00.1: gone", "PEER: gone"),
            ("its bridge 0000:00:1c.4: hot reset", "its bridge ADDRESS: hot reset"),
            ("(03:00.0) has it", "(ADDRESS) has it"),
            ("from 02:AB:cd:ef:12:34.", "from ADDRESS."),
            ("from 02-ab-cd-ef-12-34, not 7", "from ADDRESS, not 7"),
            ("8086:10fb, revision 1", "8086:10fb, revision 1"),
            ("7.10 0x8000a5c3 of 256 flows as [64, 70]: é", "7.10 0x8000a5c3 of 256 flows as [64, 70]: é"),
        ] {
            assert_eq!(nameless(text, &names), nothing);
        }
    }
}

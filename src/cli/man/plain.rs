//! A man page as text, where there is nothing that reads roff.
//!
//! It knows the requests of man(7) that the pages of `man/` are made of, and a test fails if
//! they come to have another. Each paragraph is a line, as long as it is: to fold it is for
//! the screen.

/// How far a paragraph stands in from what it belongs to.
const STEP: usize = 4;

/// The text of a page.
pub fn text(page: &str) -> String {
    let mut text = Text { lines: Vec::new(), indent: STEP, open: false };
    let mut tag = false;
    for line in page.lines() {
        match request(line) {
            ("", "") => text.gap(),
            ("", words) => {
                text.add(words);
                if std::mem::take(&mut tag) {
                    text.begin(2 * STEP);
                }
            }
            ("SH", title) => {
                text.gap();
                text.begin(0);
                text.add(title.trim_matches('"'));
                text.begin(STEP);
            }
            ("TP" | "PP", _) => {
                text.gap();
                text.begin(STEP);
                tag = line == ".TP";
            }
            ("IP", _) => {
                text.begin(text.indent);
                text.add("-");
            }
            ("RS", _) => text.begin(text.indent + STEP),
            ("RE", _) => text.begin(text.indent - STEP),
            ("br", _) => text.begin(text.indent),
            _ => {}
        }
    }
    text.lines.join("\n")
}

/// What a line asks for, and with what; a line of text asks for nothing.
fn request(line: &str) -> (&str, &str) {
    match line.strip_prefix('.') {
        Some(request) => request.split_once(' ').unwrap_or((request, "")),
        None => ("", line),
    }
}

struct Text {
    lines: Vec<String>,
    /// Of the line that comes.
    indent: usize,
    /// Whether the last line goes on.
    open: bool,
}

impl Text {
    /// What comes is on a line of its own, so far in.
    fn begin(&mut self, indent: usize) {
        (self.indent, self.open) = (indent, false);
    }

    /// An empty line, if a paragraph stands before it.
    fn gap(&mut self) {
        if self.lines.last().is_some_and(|last| last.starts_with(' ')) {
            self.lines.push(String::new());
        }
        self.open = false;
    }

    fn add(&mut self, words: &str) {
        let words = letters(words);
        match self.lines.last_mut().filter(|_| self.open) {
            Some(last) => *last += &format!(" {}", words.trim_end()),
            None => self.lines.push(format!("{:1$}{2}", "", self.indent, words.trim_end())),
        }
        self.open = true;
    }
}

/// The letters that the escapes of a text stand for; what they say of fonts is left out.
fn letters(text: &str) -> String {
    const ESCAPES: [(&str, &str); 7] =
        [("\\fB", ""), ("\\fI", ""), ("\\fR", ""), ("\\-", "-"), ("\\*(Aq", "'"), ("\\&", ""), ("\\\\", "\\")];
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('\\') {
        out += &rest[..at];
        rest = &rest[at..];
        let known = ESCAPES.iter().find(|(escape, _)| rest.starts_with(escape));
        let (escape, letter) = known.copied().unwrap_or(("\\", "\\"));
        out += letter;
        rest = &rest[escape.len()..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::super::PAGES;
    use super::*;

    #[test]
    fn a_page_is_headings_tags_and_paragraphs_that_stand_in() {
        let page = ".TH bmnic 1\n.SH NAME\nbmnic \\- Drive\n.SH \"SEE ALSO\"\n.TP\n\\fB\\-\\-so\\fR \\fI<N>\\fR\nHow\nmany\n\n\
                    More.\n.br\n\n.br\n\\fIPossible:\\fR\n.RS 14\n.IP \\(bu 2\na: it\\*(Aqs\n.IP \\(bu 2\nb\n.RE\n.PP\nlast\n";
        let wanted = "NAME\n    bmnic - Drive\n\nSEE ALSO\n    --so <N>\n        How many\n\n        More.\n\n        \
                      Possible:\n            - a: it's\n            - b\n\n    last";
        assert_eq!(text(page), wanted);
    }

    #[test]
    fn the_pages_have_no_request_and_no_escape_besides() {
        const KNOWN: [&str; 11] = ["", "TH", "SH", "TP", "PP", "IP", "RS", "RE", "br", "ie", "el"];
        for (name, page) in PAGES {
            for line in page.lines() {
                let (request, words) = request(line);
                assert!(KNOWN.contains(&request), "{name}: {line}");
                assert!(!request.is_empty() || !letters(words).contains('\\'), "{name}: {line}");
            }
            let text = text(page);
            assert!(text.starts_with("NAME\n    bmnic") && text.contains("\nEXAMPLES\n"), "{text}");
            assert!(!text.contains("\n\n\n") && text.lines().all(|line| line == line.trim_end()), "{text}");
        }
    }
}

//! What was in the files before: `/run/bmnic/tune.json`, beside the journals of cards.
//!
//! As theirs ([`crate::pci::journal`]) it is written whole before anything is changed, says
//! how things were and not how far a change has come, and names the boot it is of.

use super::is_pool;
use crate::doctor::settings::{self, Setting};
use crate::error::{Error, Kind, Result};
use crate::pci::Address;
use crate::pci::journal;
use crate::pci::kernel::Kernel;
use crate::sys::Roots;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::path::PathBuf;

/// A file that was or will be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    /// What was in it before bmnic came.
    pub(super) was: String,
    /// What bmnic wrote or was about to write, in all its runs.
    pub(super) to: Vec<String>,
}

impl Entry {
    /// Whether a text of the file is what was before or one of bmnic.
    fn knows(&self, text: &str) -> bool {
        self.to.iter().chain([&self.was]).any(|known| settings::same(&self.path, known, text))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Journal {
    pub(super) entries: Vec<Entry>,
    /// Cards that were bound with it; how they were is in their own journals.
    pub(super) cards: Vec<Address>,
    pub(super) boot: Option<String>,
}

impl Journal {
    /// The same with what is to be set too. What was before the first run stays, unless
    /// somebody has set something else since: then that is what was before. A pool that others
    /// take from is never as it was left.
    pub(super) fn with(&self, roots: &Roots, settings: &[Setting], cards: &[Address]) -> Journal {
        let mut journal = Journal { boot: journal::boot(roots), ..self.clone() };
        for setting in settings {
            let Setting { path, was, to, .. } = setting.clone();
            match journal.entries.iter_mut().find(|entry| entry.path == path) {
                Some(entry) if !is_pool(&path) && !entry.knows(&was) => *entry = Entry { path, was, to: vec![to] },
                Some(entry) if entry.to.contains(&to) => {}
                Some(entry) => entry.to.push(to),
                None => journal.entries.push(Entry { path, was, to: vec![to] }),
            }
        }
        journal.cards.extend(cards.iter().filter(|card| !self.cards.contains(card)));
        journal
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.cards.is_empty()
    }

    /// Writes it, whole or not at all; an empty one is removed.
    pub(super) fn save(&self, kernel: &dyn Kernel, roots: &Roots) -> Result<()> {
        if self.is_empty() {
            return journal::remove(kernel, &path(roots));
        }
        let entry = |entry: &Entry| json!({ "file": entry.path, "was": entry.was, "to": entry.to });
        let entries: Vec<Value> = self.entries.iter().map(entry).collect();
        let cards: Vec<String> = self.cards.iter().map(ToString::to_string).collect();
        journal::write(kernel, &path(roots), &json!({ "files": entries, "cards": cards, "boot": self.boot }))
    }

    /// What there is; an empty one if there is none, or one of an earlier boot, which
    /// began with the kernel's own settings.
    pub(super) fn load(roots: &Roots) -> Result<Journal> {
        let path = path(roots);
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Journal::default()),
            text => text.map_err(|e| Error::io(format!("reading the journal {}", path.display()), e))?,
        };
        let parsed = serde_json::from_str(&text).ok().and_then(|value| Self::from_json(&value));
        let journal = parsed.ok_or_else(|| {
            let line = format!(
                "the journal {} makes no sense; remove it, and boot to have the kernel's own settings",
                path.display()
            );
            Error::new(Kind::Io, line)
        })?;
        Ok(if journal.boot == journal::boot(roots) { journal } else { Journal::default() })
    }

    fn from_json(value: &Value) -> Option<Journal> {
        let text = |value: &Value| value.as_str().map(str::to_string);
        let entry = |value: &Value| {
            let to = value["to"].as_array()?.iter().map(text).collect::<Option<_>>()?;
            Some(Entry { path: text(&value["file"])?.into(), was: text(&value["was"])?, to })
        };
        let boot = if value["boot"].is_null() { None } else { Some(text(&value["boot"])?) };
        Some(Journal {
            entries: value["files"].as_array()?.iter().map(entry).collect::<Option<_>>()?,
            cards: value["cards"].as_array()?.iter().map(|card| card.as_str()?.parse().ok()).collect::<Option<_>>()?,
            boot,
        })
    }
}

/// Where it is.
pub fn path(roots: &Roots) -> PathBuf {
    journal::directory(roots).join("tune.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::kernel::Running;

    fn setting(path: &str, was: &str, to: &str) -> Setting {
        Setting { path: path.into(), was: was.into(), to: to.into(), check: "governor", may_refuse: false }
    }

    #[test]
    fn the_first_run_says_what_was_and_every_run_what_it_writes() {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        let (kernel, _held) = (Running::new(&roots), journal::lock(&roots).unwrap());
        assert!(Journal::load(&roots).unwrap().is_empty());
        let card = "0000:03:00.0".parse().unwrap();
        let first = Journal::default().with(&roots, &[setting("/a", "1", "2")], &[card]);
        let second = first.with(&roots, &[setting("/a", "2", "3"), setting("/b", "x", "y")], &[card]);
        second.save(&kernel, &roots).unwrap();
        let loaded = Journal::load(&roots).unwrap();
        assert_eq!(loaded, second);
        let entry = &loaded.entries[0];
        assert_eq!((&*entry.was, entry.to.join(" "), loaded.entries.len()), ("1", "2 3".into(), 2));
        assert_eq!(loaded.cards, [card]);
        assert!(journal::addresses(&roots).is_empty(), "it is no card's");
        // Another boot has other settings.
        fs::create_dir_all(roots.proc.join("sys/kernel/random")).unwrap();
        fs::write(roots.proc.join("sys/kernel/random/boot_id"), "6f3a\n").unwrap();
        assert!(Journal::load(&roots).unwrap().is_empty());
        Journal::default().save(&kernel, &roots).unwrap();
        assert!(!path(&roots).exists());
    }

    #[test]
    fn a_torn_one_is_an_error_that_names_the_file() {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        let _held = journal::lock(&roots).unwrap();
        for text in ["", "{", "null", "{\"files\":[],\"cards\":[\"eth1\"]}", "{\"files\":[{\"file\":1}],\"cards\":[]}"]
        {
            fs::write(path(&roots), text).unwrap();
            assert!(Journal::load(&roots).unwrap_err().to_string().contains("tune.json"), "{text}");
        }
    }
}

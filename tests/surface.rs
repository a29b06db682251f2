//! What the library promises, against tests/surface.txt: a change of it is seen, and chosen.
//!
//! ```text
//!   mod promised (names; the compiler says that each is there)
//!        |
//!        v
//!   src/**.rs --parsed--> declarations and methods of these names --compared--> surface.txt
//! ```
//!
//! The sources are read, and nothing is asked of the compiler: any stable one does, and
//! the next one makes no difference. What a macro makes is read as it stands in the macro.
//! `BMNIC_REGENERATE=1 cargo test --test surface` accepts a change; one that takes something
//! away, or changes it, needs a version that says so (CHANGELOG.md).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use syn::{Attribute, Fields, ImplItem, Item, TraitItem, Type, UseTree, Visibility};

/// Names that change only with a version that says so, as the front page of the documentation
/// lists them.
#[allow(unused_imports)]
mod promised {
    mod error {
        use bmnic::{Error, Kind, Remedy, Result};
    }
    mod net {
        use bmnic::net::MacAddr;
    }
    mod dma {
        use bmnic::dma::{
            Addressing, BATCH_MAX, BUFFER_SIZE, Batch, Checksum, Checksums, L4, Meta, Offload, Pool, Timestamp,
        };
    }
    mod driver {
        use bmnic::driver::{
            Anomalies, ClockReading, Config, Description, FlowRule, Link, Nic, Port, Rss, RxQueue, Stats,
            TimestampSource, TxPath, TxQueue, Wanted, driver_for, open,
        };
    }
    mod pci {
        use bmnic::pci::{Address, Function, Id, Kind, open};
    }
    mod emu {
        use bmnic::emu::{Drive, Engine, Spec};
    }
    mod measure {
        use bmnic::measure::{Clock, Counter, Histogram, Idle, Pace, Quantile, Slot, Ticks};
    }
    mod packet {
        use bmnic::packet::Filter;
    }
    mod build {
        use bmnic::packet::build::{Builder, IMIX, Proto, Recipe, Sizes, Stack, Tpid, Vlan, Vlans, Wrong, trailer};
    }
    mod values {
        use bmnic::packet::values::{Ips, Macs, Ports, Values, VlanIds};
    }
    mod write {
        use bmnic::pcap::write::{BUFFER, Plan, Recorder, SNAPLEN, Written};
    }
    mod read {
        use bmnic::pcap::read::{Omitted, Packet, Recording};
    }
    mod record {
        use bmnic::pcap::record::{Format, Record, Taken, Totals};
    }
    mod section {
        use bmnic::pcap::section::{Interface, Section};
    }
}

/// Where the names of each module are declared and have their methods.
const SOURCES: [(&str, &[&str]); 14] = [
    ("error", &["src/error.rs"]),
    ("net", &["src/net.rs"]),
    ("dma", &["src/dma/arena.rs", "src/dma/batch.rs", "src/dma/meta.rs", "src/dma/offload.rs", "src/dma/pool.rs"]),
    ("driver", &["src/driver"]),
    ("pci", &["src/pci"]),
    ("emu", &["src/emu", "src/emu/in_process", "src/emu/spec"]),
    ("measure", &["src/measure"]),
    ("packet", &["src/packet", "src/packet/filter"]),
    ("build", &["src/packet/build.rs", "src/packet/build"]),
    ("values", &["src/packet/values.rs"]),
    ("write", &["src/pcap/write.rs", "src/pcap/write"]),
    ("read", &["src/pcap/read.rs"]),
    ("record", &["src/pcap/record.rs"]),
    ("section", &["src/pcap/section.rs"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of each module of `promised`, and the path that they are used by.
fn promised() -> Vec<(String, String, BTreeSet<String>)> {
    let this = syn::parse_file(include_str!("surface.rs")).unwrap();
    let inner = |items: &[Item], name: &str| {
        items.iter().find_map(|item| match item {
            Item::Mod(module) if module.ident == name => module.content.as_ref().map(|(_, items)| items.clone()),
            _ => None,
        })
    };
    let modules = inner(&this.items, "promised").unwrap();
    let names = |(module, _): &(&str, &[&str])| {
        let items = inner(&modules, module).unwrap_or_else(|| panic!("no promise is made of {module}"));
        let [Item::Use(used)] = items.as_slice() else { panic!("{module}: one line names all") };
        let (mut path, mut tree) = (Vec::new(), &used.tree);
        while let UseTree::Path(step) = tree {
            path.push(step.ident.to_string());
            tree = &step.tree;
        }
        let name = |tree: &UseTree| match tree {
            UseTree::Name(name) => name.ident.to_string(),
            _ => panic!("{module}: a name is a name"),
        };
        let names = match tree {
            UseTree::Group(group) => group.items.iter().map(name).collect(),
            one => BTreeSet::from([name(one)]),
        };
        (module.to_string(), path.join("::"), names)
    };
    SOURCES.iter().map(names).collect()
}

/// The Rust files that are `place`, or lie right in it, but for tests.
fn files(place: &str) -> Vec<PathBuf> {
    let place = root().join(place);
    if place.is_file() {
        return vec![place];
    }
    let entries = fs::read_dir(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|end| end == "rs"));
    found.retain(|path| !path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("tests")));
    found.sort();
    found
}

/// Whether somebody else can see it, and is meant to.
fn is_shown(visibility: &Visibility, attributes: &[Attribute]) -> bool {
    let hides = |attribute: &Attribute| match &attribute.meta {
        syn::Meta::List(list) => {
            let words = list.tokens.to_string();
            (list.path.is_ident("doc") && words == "hidden") || (list.path.is_ident("cfg") && words == "test")
        }
        _ => false,
    };
    matches!(visibility, Visibility::Public(_)) && !attributes.iter().any(hides)
}

/// Leaves of the attributes those that bear on others.
fn trim(attributes: &mut Vec<Attribute>) {
    let bears = ["derive", "non_exhaustive", "must_use", "deprecated", "cfg"];
    attributes.retain(|attribute| bears.iter().any(|name| attribute.path().is_ident(name)));
}

/// Fields that others see; in place of the rest one that says that there are some.
fn trim_fields(fields: &mut Fields) {
    for field in fields.iter_mut() {
        trim(&mut field.attrs);
        if !matches!(field.vis, Visibility::Public(_)) {
            field.ty = syn::parse_quote!(_);
        }
    }
    if let Fields::Named(named) = fields {
        let hidden = named.named.iter().any(|field| !matches!(field.vis, Visibility::Public(_)));
        let shown = std::mem::take(&mut named.named).into_iter();
        named.named = shown.filter(|field| matches!(field.vis, Visibility::Public(_))).collect();
        if hidden {
            named.named.push(syn::parse_quote!(private: _));
        }
    }
}

/// The declaration as others see it, if it is of one of `names`.
fn declaration(mut item: Item, names: &BTreeSet<String>) -> Option<Item> {
    let (shown, attributes, name) = match &mut item {
        Item::Struct(it) => (is_shown(&it.vis, &it.attrs), &mut it.attrs, &it.ident),
        Item::Enum(it) => (is_shown(&it.vis, &it.attrs), &mut it.attrs, &it.ident),
        Item::Trait(it) => (is_shown(&it.vis, &it.attrs), &mut it.attrs, &it.ident),
        Item::Type(it) => (is_shown(&it.vis, &it.attrs), &mut it.attrs, &it.ident),
        Item::Const(it) => (is_shown(&it.vis, &it.attrs), &mut it.attrs, &it.ident),
        Item::Fn(it) => (is_shown(&it.vis, &it.attrs), &mut it.attrs, &it.sig.ident),
        Item::Impl(it) => return implementation(it.clone(), names).map(Item::Impl),
        _ => return None,
    };
    if !shown || !names.contains(&name.to_string()) {
        return None;
    }
    trim(attributes);
    match &mut item {
        Item::Struct(it) => trim_fields(&mut it.fields),
        Item::Enum(it) => it.variants.iter_mut().for_each(|variant| {
            trim(&mut variant.attrs);
            variant.fields.iter_mut().for_each(|field| trim(&mut field.attrs));
        }),
        Item::Trait(it) => it.items.iter_mut().for_each(|item| {
            if let TraitItem::Fn(method) = item {
                trim(&mut method.attrs);
                // A body says that one need not be written.
                method.default = method.default.take().map(|_| syn::parse_quote!({}));
            }
        }),
        Item::Const(it) => *it.expr = syn::parse_quote!(_),
        Item::Fn(it) => *it.block = syn::parse_quote!({}),
        _ => {}
    }
    Some(item)
}

/// What an `impl` gives one of `names`: its public methods, or a trait.
fn implementation(mut item: syn::ItemImpl, names: &BTreeSet<String>) -> Option<syn::ItemImpl> {
    let Type::Path(of) = &*item.self_ty else { return None };
    let name = of.path.segments.last()?.ident.to_string();
    let tests = Visibility::Public(Default::default());
    if !names.contains(&name) || !is_shown(&tests, &item.attrs) {
        return None;
    }
    let of_trait = item.trait_.is_some();
    trim(&mut item.attrs);
    item.items.retain_mut(|item| match item {
        ImplItem::Fn(method) if !of_trait && is_shown(&method.vis, &method.attrs) => {
            trim(&mut method.attrs);
            method.block = syn::parse_quote!({});
            true
        }
        ImplItem::Const(value) if !of_trait && is_shown(&value.vis, &value.attrs) => {
            trim(&mut value.attrs);
            value.expr = syn::parse_quote!(_);
            true
        }
        ImplItem::Type(_) => true,
        _ => false,
    });
    (of_trait || !item.items.is_empty()).then_some(item)
}

/// What a macro declares of `names`, and its public functions, a line each.
fn in_macro(item: &Item, names: &BTreeSet<String>) -> Vec<String> {
    let Item::Macro(it) = item else { return Vec::new() };
    let text = it.mac.tokens.to_string();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let named = |name: &&String| ["struct", "enum"].iter().any(|kind| text.contains(&format!("pub {kind} {name} {{")));
    let mut found: Vec<String> =
        names.iter().filter(named).map(|name| format!("// made by a macro: {name}\n")).collect();
    if !found.is_empty() {
        let functions = text.split("pub fn ").skip(1).filter_map(|rest| rest.split_once(" {"));
        found.extend(functions.map(|(signature, _)| format!("// made by a macro: fn {signature}\n")));
    }
    found
}

#[test]
fn what_is_promised_is_what_it_was() {
    let mut surface = String::new();
    for ((module, path, names), (_, places)) in promised().into_iter().zip(SOURCES) {
        let (mut left, mut items, mut made) = (names.clone(), Vec::new(), String::new());
        for file in places.iter().flat_map(|place| files(place)) {
            let text = fs::read_to_string(&file).unwrap();
            for item in syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())).items {
                in_macro(&item, &names).iter().for_each(|line| made += line);
                items.extend(declaration(item, &names));
            }
        }
        let text = prettyplease::unparse(&syn::File { shebang: None, attrs: Vec::new(), items }) + &made;
        left.retain(|name| !text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name));
        assert!(left.is_empty(), "{left:?} of {module} are declared elsewhere than in {places:?}");
        surface += &format!("// {path}\n\n{text}\n");
    }
    let file = root().join("tests/surface.txt");
    if std::env::var_os("BMNIC_REGENERATE").is_some_and(|value| value == "1") {
        fs::write(&file, &surface).unwrap();
    }
    let before = fs::read_to_string(&file).unwrap_or_default();
    let old: BTreeSet<&str> = before.lines().collect();
    let new: BTreeSet<&str> = surface.lines().collect();
    let gone: Vec<_> = old.difference(&new).collect();
    let came: Vec<_> = new.difference(&old).collect();
    assert!(
        before == surface,
        "what the library promises has changed; gone: {gone:#?}, new: {came:#?}; if that is meant, run \
         `BMNIC_REGENERATE=1 cargo test --test surface`, and say in CHANGELOG.md what becomes of those who use it"
    );
}

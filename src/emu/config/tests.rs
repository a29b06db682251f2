use super::super::{Card, Spec, build};
use super::*;
use crate::pci::Id;

fn profile() -> Profile {
    Profile {
        name: "test",
        id: Id { vendor: 0x8086, device: 0x10fb, subsystem_vendor: 0x8086, subsystem: 0xc, revision: 1 },
        bars: [512 << 10, 0, 0, 0, 16 << 10, 0],
        io: (0, 0),
        vectors: 64,
        msix: (4, 0, 0x2000),
        speed: 10_000_000_000,
    }
}

fn space() -> ConfigSpace {
    ConfigSpace::new(&profile(), Layout::INTEL, &[], None)
}

#[test]
fn a_vendors_capabilities_are_in_the_list_in_their_order() {
    let vendor: Vec<Vec<u8>> = [16, 16, 16, 20].iter().map(|len| vec![9; *len]).collect();
    let space = ConfigSpace::new(&profile(), Layout::INTEL, &vendor, None);
    let mut found = Vec::new();
    let mut at = space.read(0x34, 1) as u16;
    while at != 0 {
        found.push(space.read(at, 1));
        at = space.read(at + 1, 1) as u16;
    }
    assert_eq!(found, [1, 9, 9, 9, 9, 0x11, 0x10]);
    assert_eq!(space.read(0xb2, 2), 0x1082, "PCIe stays where it is");
}

#[test]
fn the_capability_list_is_where_foreign_drivers_look() {
    let space = space();
    assert_eq!(space.read(0, 4), 0x10fb_8086);
    assert_eq!(space.read(8, 4), 0x0200_0001);
    let mut found = Vec::new();
    let mut at = space.read(0x34, 1) as u16;
    while at != 0 {
        found.push((at, space.read(at, 1)));
        at = space.read(at + 1, 1) as u16;
    }
    assert_eq!(found, [(0x40, 1), (0x50, 5), (0x70, 0x11), (0xa0, 0x10)]);
    assert_eq!(space.read(0x72, 2) & 0x7ff, 63);
    assert_eq!((space.read(0x74, 4), space.read(0x78, 4)), (4, 0x2004));
    assert_eq!(space.read(0xb2, 2), 0x1082);
    assert_eq!((space.read(0x100, 4), space.read(0x140, 4)), (0x1401_0001, 0x0001_0003));
}

#[test]
fn bars_tell_their_size_when_probed() {
    let mut space = space();
    let _ = space.write(0x10, 4, !0);
    let _ = space.write(0x14, 4, !0);
    assert_eq!((space.read(0x10, 4), space.read(0x14, 4)), (0xfff8_000c, 0xffff_ffff));
    let _ = space.write(0x18, 4, !0);
    assert_eq!(space.read(0x18, 4), 0);
}

#[test]
fn commands_have_effects_and_read_only_bits_none() {
    let mut space = space();
    assert_eq!(space.write(0, 4, 0), Effects::default());
    assert_eq!(space.read(0, 2), 0x8086);
    assert_eq!(space.write(4, 2, 6), Effects { bus_master: Some(true), ..Effects::default() });
    assert_eq!(space.write(4, 2, 6), Effects::default());
    assert_eq!(space.write(0x72, 2, 0x8000).msix, Some((true, false)));
    // FLR written as a word, as a dword, and as the byte that Linux never writes.
    for (offset, size, value) in [(0xa8, 2, 0x8000), (0xa8, 4, 0x8000), (0xa9, 1, 0x80)] {
        let _ = space.write(4, 2, 6);
        let effects = space.write(offset, size, value);
        assert_eq!(effects, Effects { bus_master: Some(false), msix: Some((false, false)), reset: true });
        assert_eq!(space.read(0xa8, 2) & 0x8000, 0);
    }
    assert_eq!(space.write(4095, 4, 0), Effects::default());
    assert_eq!(space.read(4095, 4), !0);
}

/// A card's configuration space, as its dump would show it.
struct Dump {
    revision: u32,
    /// The low bits and the size of BAR 0, and of the BAR with the ports.
    registers: (u32, u64),
    ports: u32,
    /// Entries, and the BAR of the table.
    msix: (u32, u32),
    list: Vec<u32>,
    extended: Vec<(u32, u32)>,
    /// Bytes of payload, speed and width of the link.
    payload: u32,
    link: (u32, u32),
    forgets: bool,
    /// Status of the device.
    rest: u32,
}

fn card(spec: &str) -> Card {
    let spec = spec.parse::<Spec>().unwrap();
    Card::new(build(&spec, spec.open_wire(&mut Default::default()).unwrap()).unwrap())
}

fn dump(card: &mut Card) -> Dump {
    let sized = |card: &mut Card, at| {
        let kind = card.config_read(at, 4);
        card.config_write(at, 4, !0);
        let (size, kind) = ((card.config_read(at, 4) & !0xf).wrapping_neg(), kind & 0xf);
        card.config_write(at, 4, kind);
        (kind, size)
    };
    let (kind, size) = sized(card, 0x10);
    let (ports, _) = sized(card, 0x18);
    let read = |at: u32, size| card.config_read(at as u16, size);
    let (mut list, mut at, mut msix, mut pcie) = (Vec::new(), read(0x34, 1), 0, 0);
    while at != 0 {
        list.push(at);
        match read(at, 1) {
            0x11 => msix = at,
            0x10 => pcie = at,
            _ => {}
        }
        at = read(at + 1, 1);
    }
    let (mut extended, mut at) = (Vec::new(), 0x100);
    while at != 0 {
        let header = read(at, 4);
        extended.push((at, header & 0xf_ffff));
        at = header >> 20;
    }
    Dump {
        revision: read(8, 1),
        registers: (kind, size.into()),
        ports: ports & 1,
        msix: ((read(msix + 2, 2) & 0x7ff) + 1, read(msix + 4, 4) & 7),
        list,
        extended,
        payload: 128 << (read(pcie + 4, 4) & 7),
        link: (read(pcie + 12, 4) & 0xf, read(pcie + 12, 4) >> 4 & 0x3f),
        forgets: read(0x44, 2) & 8 == 0,
        rest: read(pcie + 10, 2),
    }
}

/// Versions and ids of extended capabilities.
fn ids(dump: &Dump) -> Vec<(u32, u32, u32)> {
    dump.extended.iter().map(|(at, header)| (*at, header >> 16, header & 0xffff)).collect()
}

#[test]
fn intels_cards_look_as_dumps_of_real_ones() {
    const M: u64 = 1 << 20;
    let (aer1, aer2, serial, ari) = ((0x100, 1, 1), (0x100, 2, 1), (0x140, 1, 3), (0x150, 1, 0xe));
    let (sriov, tph, acs) = ((0x160, 1, 0x10), (0x1a0, 1, 0x17), (0x1b0, 1, 0xd));
    let x550 = vec![aer2, serial, ari, sriov, tph, acs, (0x1c0, 1, 0x18), (0x1d0, 1, 0x19)];
    let x710 = vec![aer2, serial, ari, sriov, tph, acs, (0x1d0, 1, 0x19)];
    let xxv710 = vec![aer2, ari, sriov, tph, acs, (0x1d0, 1, 0x19)];
    let x722 = vec![aer2, serial, ari, sriov, tph, acs];
    #[rustfmt::skip]
    let cards = [
        // Revision, BAR 0, ports, MSI-X, extended, payload, link, D3hot forgets.
        ("82599", 1, (0xc, M / 2), 1, (64, 4), vec![aer1, serial, ari, sriov], 512, (2, 8), true),
        ("82599,nasty", 1, (0, M / 8), 1, (64, 3), vec![aer1, serial, ari, sriov], 512, (2, 8), true),
        ("x540", 1, (0xc, 2 * M), 0, (64, 4), vec![aer2, ari, sriov, (0x1d0, 1, 0xd)], 512, (2, 8), false),
        ("x550", 1, (0xc, 4 * M), 0, (64, 4), x550.clone(), 512, (3, 4), false),
        ("x550,nasty", 1, (0xc, 2 * M), 0, (64, 4), x550, 512, (3, 4), false),
        ("x710", 2, (0xc, 8 * M), 0, (129, 3), x710.clone(), 2048, (3, 8), false),
        ("x710,nasty", 2, (0xc, 16 * M), 0, (129, 3), x710.clone(), 2048, (3, 8), false),
        ("xl710", 2, (0xc, 8 * M), 0, (129, 3), x710, 2048, (3, 8), false),
        ("xxv710", 2, (0xc, 16 * M), 0, (129, 3), xxv710, 2048, (3, 8), false),
        ("x722", 9, (0xc, 16 * M), 0, (129, 3), x722, 512, (1, 1), false),
    ];
    for (spec, revision, registers, ports, msix, extended, payload, link, forgets) in cards {
        let dump = dump(&mut card(spec));
        assert_eq!(
            (dump.revision, dump.registers, dump.ports, dump.msix),
            (revision, registers, ports, msix),
            "{spec}"
        );
        assert_eq!(ids(&dump), extended, "{spec}");
        assert_eq!((dump.payload, dump.link, dump.forgets), (payload, link, forgets), "{spec}");
        assert_eq!((&dump.list[..], dump.rest), (&[0x40, 0x50, 0x70, 0xa0][..], 9), "{spec}");
    }
}

#[test]
fn the_serial_number_is_the_address_and_virtual_functions_stay_off() {
    for (spec, device, offset) in
        [("82599", 0x10ed, 384), ("x550", 0x1565, 384), ("x710", 0x154c, 272), ("x722", 0x37cd, 272)]
    {
        let mut card = card(&format!("{spec},mac=02:11:22:33:44:55"));
        let read = |card: &Card, at| card.config_read(at, 4);
        assert_eq!((read(&card, 0x144), read(&card, 0x148)), (0xff33_4455, 0x0211_22ff), "{spec}");
        assert_eq!((read(&card, 0x174) & 0xffff, read(&card, 0x178) >> 16), (offset, device), "{spec}");
        card.config_write(0x168, 2, 1);
        assert_eq!(card.config_read(0x168, 2), 0, "{spec}");
    }
}

#[test]
fn a_sleeping_card_answers_to_configuration_alone_and_may_forget() {
    const CTRL_EXT: u64 = 0x18;
    for (spec, forgets) in [("82599", true), ("x550", false)] {
        let mut card = card(spec);
        card.config_write(4, 2, 6);
        let fresh = card.read(0, 0, CTRL_EXT, 4);
        card.write(0, 0, CTRL_EXT, 4, fresh | 1 << 28);
        let kept = card.read(0, 0, CTRL_EXT, 4);
        assert_ne!(kept, fresh);
        card.config_write(0x44, 2, 3);
        assert_eq!(card.read(0, 0, CTRL_EXT, 4), 0xffff_ffff, "{spec}");
        assert_eq!(card.config_read(0, 2), 0x8086, "{spec}");
        card.write(0, 0, CTRL_EXT, 4, fresh);
        card.config_write(0x44, 2, 0);
        assert_eq!(card.read(0, 0, CTRL_EXT, 4), if forgets { fresh } else { kept }, "{spec}");
        assert_eq!(card.config_read(4, 2), if forgets { 0 } else { 6 }, "{spec}");
    }
}

#[test]
fn registers_are_behind_io_ports_too() {
    let mut card = card("82599,strict");
    card.config_write(4, 2, 7);
    card.write(0, 2, 0, 4, 0x8);
    assert_eq!(card.read(0, 2, 4, 4), card.read(0, 0, 0x8, 4));
    assert_eq!((card.read(0, 2, 0, 4), card.violations()), (8, vec![]));
}

#[test]
fn vital_product_data_is_read_word_by_word_and_its_bytes_come_to_zero() {
    let product = |spec: &str| -> Vec<u8> {
        let mut card = card(spec);
        let at = u16::from(card.layout().vpd.unwrap().0);
        let word = |offset: u32| {
            card.config_write(at + 2, 2, offset);
            assert_eq!(card.config_read(at + 2, 2), 0x8000 | offset, "{spec}: it was read at once");
            card.config_read(at + 4, 4).to_le_bytes()
        };
        (0..256).step_by(4).flat_map(word).collect()
    };
    let sum = |bytes: &[u8]| bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
    for model in ["cx5", "bcm57414", "x2522"] {
        let bytes = product(model);
        let checked = bytes.windows(3).position(|three| three == *b"RV\x01").unwrap() + 4;
        assert_eq!((bytes[0], sum(&bytes[..checked]), bytes[checked], bytes[255]), (0x82, 0, 0x91, 0x78), "{model}");
        assert_eq!(sum(&product(&format!("{model},fault=vpd-sum"))[..checked]), 1, "{model}");
        let torn = product(&format!("{model},fault=vpd-torn"));
        assert_eq!((&torn[..64], &torn[64..]), (&bytes[..64], &[0xff; 192][..]), "{model}");
    }
}

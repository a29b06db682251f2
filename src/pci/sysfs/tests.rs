use super::*;
use crate::pci::Address;

/// A function without a driver: 64 KiB of BAR 0, 256 bytes of configuration.
fn tree() -> (tempfile::TempDir, Roots, Address) {
    let temp = tempfile::tempdir().unwrap();
    let roots = Roots::under(temp.path());
    let address: Address = "0000:03:00.0".parse().unwrap();
    let dir = discover::directory(&roots, address);
    fs::create_dir_all(&dir).unwrap();
    let resource = "0x00000000f7c00000 0x00000000f7c0ffff 0x000000000014220c\n";
    for (file, text) in [
        ("vendor", "0x8086"),
        ("device", "0x10fb"),
        ("class", "0x020000"),
        ("enable", "0"),
        ("reset", ""),
        ("resource", resource),
    ] {
        fs::write(dir.join(file), text).unwrap();
    }
    File::create(dir.join("resource0")).unwrap().set_len(0x1_0000).unwrap();
    let mut config = vec![0; 256];
    config[..4].copy_from_slice(&[0x86, 0x80, 0xfb, 0x10]);
    fs::write(dir.join("config"), config).unwrap();
    (temp, roots, address)
}

fn open(roots: &Roots, address: Address) -> Result<Sysfs> {
    Sysfs::open(roots, &discover::find(roots, &address.to_string())?)
}

fn file(roots: &Roots, address: Address, name: &str) -> Vec<u8> {
    fs::read(discover::directory(roots, address).join(name)).unwrap()
}

#[test]
fn a_card_is_enabled_driven_and_left_as_it_was() {
    let (_temp, roots, address) = tree();
    let card: Arc<dyn Function> = Arc::new(open(&roots, address).unwrap());
    assert_eq!(file(&roots, address, "enable"), b"1");
    assert_eq!((card.id().device, card.kind(), card.irq_vectors()), (0x10fb, Kind::Sysfs, 0));
    card.set_bus_master(true).unwrap();
    assert_eq!(file(&roots, address, "config")[4], 0x06);

    let bar = card.bar(0).unwrap();
    assert_eq!(bar.size(), 0x1_0000);
    bar.write32(0x42a4, 0x1234_5678);
    assert_eq!(file(&roots, address, "resource0")[0x42a4..0x42a8], [0x78, 0x56, 0x34, 0x12]);
    assert_eq!(card.bar(2).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(card.reset().unwrap());
    assert_eq!(file(&roots, address, "reset"), b"1");

    drop(card);
    assert_eq!(file(&roots, address, "config")[4], 0x02, "bus mastering off");
    assert_eq!(file(&roots, address, "enable"), b"0");
    bar.write32(0, 1); // A BAR outlives the function that it came from.
}

/// As Linux offers I/O ports: `resource0` is read and written, a port an access.
#[test]
fn a_bar_of_ports_is_read_and_written_and_answers_only_when_asked_for() {
    let (_temp, roots, address) = tree();
    let dir = discover::directory(&roots, address);
    fs::write(dir.join("resource"), "0x000000000000c080 0x000000000000c09f 0x0000000000040101\n").unwrap();
    File::create(dir.join("resource0")).unwrap().set_len(32).unwrap();
    let card: Arc<dyn Function> = Arc::new(open(&roots, address).unwrap());
    assert_eq!(file(&roots, address, "config")[4], 0, "nobody has asked for ports");
    let bar = card.bar(0).unwrap();
    assert_eq!((bar.size(), file(&roots, address, "config")[4]), (32, 0x01));
    assert!(matches!(bar, Bar::Served(..)) && card.combining(0).unwrap().is_none());
    bar.write16(0x10, 0x1234);
    bar.write8(0x12, 3);
    assert_eq!(file(&roots, address, "resource0")[0x10..0x13], [0x34, 0x12, 3]);
    assert_eq!((bar.read16(0x10), bar.read8(0x12), bar.read32(0)), (0x1234, 3, 0));
    assert!(bar.short_doorbell(0x10).is_err(), "there is nothing to store into");
    card.set_bus_master(true).unwrap();
    assert_eq!(file(&roots, address, "config")[4], 0x07);
    drop(card);
    assert_eq!(file(&roots, address, "config")[4], 0x03, "bus mastering off");
    // Pulled: the kernel reads nothing any more.
    File::create(dir.join("resource0")).unwrap();
    assert_eq!((bar.read8(0x12), bar.read32(0)), (u8::MAX, u32::MAX));
}

#[test]
fn a_prefetchable_bar_has_pages_whose_stores_are_combined_and_others_have_none() {
    let (_temp, roots, address) = tree();
    let wc = discover::directory(&roots, address).join("resource0_wc");
    let card = open(&roots, address).unwrap();
    assert!(card.combining(0).unwrap().is_none(), "no such file");
    File::create(&wc).unwrap().set_len(0x1_0000).unwrap();
    let combining = card.combining(0).unwrap().unwrap();
    let bar = card.bar(0).unwrap();
    assert_eq!((bar.size(), combining.size()), (0x1_0000, 0x1_0000));
    // Here the two are not the same memory, so that it shows which one was mapped.
    let stored = |name: &str, at: usize| file(&roots, address, name)[at..at + 4].to_vec();
    bar.write32(0x1004, 0x1122_3344);
    combining.window(0x2800, 512).unwrap().copy(256, &[7; 64]);
    assert_eq!(
        (stored("resource0", 0x1004), stored("resource0_wc", 0x1004)),
        (vec![0x44, 0x33, 0x22, 0x11], vec![0; 4])
    );
    assert_eq!((stored("resource0_wc", 0x2900), stored("resource0", 0x2900)), (vec![7; 4], vec![0; 4]));
    // A page keeps the way that it was first mapped in.
    assert!(bar.doorbell(0x2800).is_err() && combining.doorbell(0x1000).is_err());
    bar.write64(0x2808, 9);
    assert_eq!((stored("resource0_wc", 0x2808), bar.read32(0x2808)), (vec![9, 0, 0, 0], 9));
    assert_eq!(card.combining(2).unwrap_err().kind(), ErrorKind::NotFound);
    drop(card);
    let card = open(&roots, address).unwrap();
    card.bar(0).unwrap();
    assert!(card.combining(0).unwrap().is_none(), "it is mapped uncached as a whole");
}

#[test]
fn registers_that_are_taken_away_read_as_all_ones() {
    for by_pages in [false, true] {
        let (_temp, roots, address) = tree();
        let file = |name: &str| {
            let path = discover::directory(&roots, address).join(name);
            let file = File::options().create(true).truncate(false).write(true).open(path).unwrap();
            file.set_len(0x1_0000).unwrap();
            file
        };
        let files = if by_pages { vec![file("resource0"), file("resource0_wc")] } else { vec![file("resource0")] };
        let card = open(&roots, address).unwrap();
        assert_eq!(card.combining(0).unwrap().is_some(), by_pages);
        let bar = card.bar(0).unwrap();
        let bell = bar.doorbell(0x3018).unwrap();
        assert_eq!((bar.read32(0x1008), card.is_gone()), (0, false));
        // As the kernel does it when the card is pulled: pages that were there are not.
        files.iter().for_each(|file| file.set_len(0).unwrap());
        assert_eq!((bar.read32(0x1008), bar.read64(0x2000)), (u32::MAX, u64::MAX));
        bell.ring(7);
        bar.write32(0x1_0000 - 4, 1);
        assert_eq!((bar.read16(0x8000), card.is_gone()), (u16::MAX, true));
        let [(Alarm::Gone, event)] = card.alarms()[..] else { panic!("{:?}", card.alarms()) };
        assert!(crate::sys::wait_readable(event, std::time::Duration::ZERO).unwrap());
    }
}

#[test]
fn memory_for_a_card_is_of_the_node_that_it_is_on() {
    if !crate::sys::tells_nodes() {
        return;
    }
    for (told, node) in [("0\n", Some(0)), ("-1\n", None)] {
        let (_temp, roots, address) = tree();
        fs::write(discover::directory(&roots, address).join("numa_node"), told).unwrap();
        let card = open(&roots, address).unwrap();
        let pool = crate::dma::Pool::near(1_000, Addressing::Translated, card.numa_node()).unwrap();
        assert_eq!(crate::sys::preferred_node(pool.arena().as_ptr()).unwrap(), node, "{told}");
    }
}

#[test]
fn two_of_us_cannot_have_the_same_card() {
    let (_temp, roots, address) = tree();
    let first = open(&roots, address).unwrap();
    let second = open(&roots, address).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Refused);
    assert_eq!(file(&roots, address, "enable"), b"1", "the second one touched nothing");
    drop(first);
    open(&roots, address).unwrap();
}

#[test]
fn a_card_behind_an_iommu_is_refused_unless_it_is_passed_through() {
    let (_temp, roots, address) = tree();
    let group = roots.sys.join("kernel/iommu_groups/7");
    fs::create_dir_all(&group).unwrap();
    std::os::unix::fs::symlink(&group, discover::directory(&roots, address).join("iommu_group")).unwrap();
    fs::write(group.join("type"), "DMA-FQ\n").unwrap();
    let error = open(&roots, address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("group 7, DMA-FQ"), "{error}");
    fs::write(group.join("type"), "identity\n").unwrap();
    open(&roots, address).unwrap();
}

#[test]
fn the_uio_node_is_held_while_the_card_is_open() {
    let (_temp, roots, address) = tree();
    fs::create_dir_all(discover::directory(&roots, address).join("uio/uio3")).unwrap();
    assert_eq!(open(&roots, address).unwrap_err().kind(), ErrorKind::NotFound, "no node");
    fs::create_dir_all(&roots.dev).unwrap();
    fs::write(roots.dev.join("uio3"), "").unwrap();
    let node = roots.dev.join("uio3").canonicalize().unwrap();
    let holds = || {
        fs::read_dir("/proc/self/fd").unwrap().flatten().any(|fd| fs::read_link(fd.path()).ok().as_ref() == Some(&node))
    };
    let card = open(&roots, address).unwrap();
    assert!(holds());
    drop(card);
    assert!(!holds());
}

#[test]
fn memory_without_physical_addresses_is_refused() {
    let (_temp, roots, address) = tree();
    let card = open(&roots, address).unwrap();
    let arena = Arena::new(4096, Addressing::Translated).unwrap();
    assert_eq!(card.map(&arena).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(card.set_irqs(&[3]).unwrap_err().kind(), ErrorKind::Unsupported);
    card.set_irqs(&[]).unwrap();
}

#[test]
fn a_locked_down_kernel_is_named_before_anything_is_tried() {
    let (_temp, roots, address) = tree();
    let security = roots.sys.join("kernel/security");
    fs::create_dir_all(&security).unwrap();
    fs::write(security.join("lockdown"), "none [integrity] confidentiality\n").unwrap();
    let error = open(&roots, address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    assert!(error.to_string().contains("Secure Boot"), "{error}");
    assert_eq!(file(&roots, address, "enable"), b"0");
    fs::write(security.join("lockdown"), "[none] integrity confidentiality\n").unwrap();
    open(&roots, address).unwrap();
}

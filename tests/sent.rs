//! When `send` takes the buffers of sent packets back: now and then, as each look may fetch a
//! line that the card has just written; and at once where the caller cannot go on without.

#[path = "common/families.rs"]
mod families;
#[path = "support/silicon/mod.rs"]
mod silicon;

use bmnic::dma::{Addressing, Batch, Pool};
use bmnic::driver::{Config, Nic, TxQueue};
use families::Rings;
use silicon::{Opened, Played};

/// All but virtqueues, of which the driver looks at the index at every call once they hold so
/// many: it says how many were sent, and is one line.
fn all_rings() -> impl Iterator<Item = &'static Rings> {
    families::all_rings().filter(|rings| !rings.name.starts_with("virtio"))
}

/// A transmit queue, and the card that its packets go to.
struct Sender<'p> {
    device: Box<dyn Played>,
    tx: TxQueue,
    pool: &'p Pool,
    _nic: Nic,
}

impl<'p> Sender<'p> {
    fn new(rings: &Rings, tx_ring: u16, pool: &'p Pool) -> Self {
        let config = Config { rx_ring: 64, tx_ring, ..Config::default() };
        let Opened { function, mut port, mut device } = silicon::open(rings, &config);
        function.map(pool.arena()).unwrap();
        port.rx[0].fill(pool).unwrap();
        device.attach();
        Sender { device, tx: port.tx.remove(0), pool, _nic: port.nic }
    }

    /// Sends a packet; whether it was taken.
    fn send(&mut self) -> bool {
        let mut batch = Batch::with_limit(self.pool, 1);
        batch.push(60).expect("there are more buffers than descriptors").fill(7);
        self.tx.send(&mut batch) == 1
    }

    /// Has the card report what it was given, but for the newest `behind`.
    fn report(&mut self, behind: u32) {
        while self.device.tx_owned() > behind {
            self.device.tx_complete(0);
            self.device.tx_advance(1);
        }
    }
}

#[test]
fn a_card_that_is_behind_is_looked_at_once_in_many_packets() {
    const PACKETS: usize = 640;
    for rings in all_rings() {
        let pool = Pool::new(1024, Addressing::Translated).unwrap();
        let mut sender = Sender::new(rings, 512, &pool);
        let mut looks = 0;
        for _ in 0..PACKETS {
            let before = pool.available();
            assert!(sender.send(), "{}", rings.name);
            looks += usize::from(pool.available() >= before);
            sender.report(48);
        }
        assert!((1..=PACKETS / 16).contains(&looks), "{}: {looks} looks", rings.name);
    }
}

#[test]
fn who_has_nothing_to_send_gets_all_buffers_back() {
    for rings in all_rings() {
        let pool = Pool::new(1024, Addressing::Translated).unwrap();
        let mut sender = Sender::new(rings, 512, &pool);
        let all = pool.available();
        for packets in [1, 31, 32, 33, 100] {
            for _ in 0..packets {
                assert!(sender.send(), "{}", rings.name);
            }
            sender.report(0);
            assert_eq!(sender.tx.send(&mut Batch::new(&pool)), 0);
            assert_eq!(pool.available(), all, "{}: after {packets}", rings.name);
        }
    }
}

#[test]
fn a_full_ring_takes_packets_as_soon_as_the_card_has_sent_some() {
    for rings in families::all_rings() {
        let pool = Pool::new(1024, Addressing::Translated).unwrap();
        let mut sender = Sender::new(rings, 64, &pool);
        for _ in 0..5 {
            while sender.send() {}
            assert!(!sender.send(), "{}: nothing has left", rings.name);
            sender.report(0);
            assert!(sender.send(), "{}: all have left", rings.name);
        }
    }
}

//! A driver and an emulated card, with somebody between them: the card that the driver sees
//! lies, or the driver that the card sees writes anything anywhere.

use super::between::{Between, write};
use super::{Input, clock};
use crate::families::Card;
use bmnic::dma::{Addressing, Arena, Batch, L4, Pool};
use bmnic::driver::{self, Config, FlowRule, Port};
use bmnic::emu::{Drive, Engine};
use bmnic::net::MacAddr;
use bmnic::pci::{Bar, Function};
use std::rc::Rc;
use std::sync::Arc;

/// Most lies that a card tells: each may cost a driver the time that it waits.
const LIES: usize = 4;

/// A card, which goes on while this thread sleeps.
fn plug(card: &Card, nasty: bool) -> (Rc<Engine>, Arc<dyn Function>) {
    let engine = Rc::new(Engine::new(Drive::Manual));
    clock::play(Some(&engine));
    let nasty = if nasty { ",nasty" } else { "" };
    let spec = format!("{},wire=loop,link=1us{nasty}", card.name);
    let (function, _) = engine.open(&spec.parse().unwrap()).unwrap_or_else(|e| panic!("{spec}: {e}"));
    (engine, function)
}

/// Has a driver bring up a card that lies, ask it for all that it can, and move frames; how
/// many completions it took.
pub fn driver_meets_liar(card: &Card, data: &[u8]) -> u64 {
    let mut input = Input::new(data);
    let ways = input.byte();
    let (engine, inner) = plug(card, ways & 1 != 0);
    let function = Between::new(inner, &mut input, LIES);
    let config = Config {
        rx_ring: 64,
        tx_ring: 128,
        rx_queues: 1 + u16::from(ways >> 1 & 1).min(card.queues[0] - 1),
        max_frame: if ways & 4 != 0 && card.limits_frames { 9000 } else { 1518 },
        timestamps: ways & 8 != 0 && card.stamps,
        compressed_completions: ways & 16 != 0,
        promiscuous: ways & 32 != 0,
        ..Config::default()
    };
    let Ok(mut port) = driver::open(Arc::clone(&function) as Arc<dyn Function>, &config) else { return 0 };
    let pool = Pool::new(2048, Addressing::Translated).unwrap();
    if function.map(pool.arena()).is_err() || port.rx.iter_mut().any(|rx| rx.fill(&pool).is_err()) {
        port.close([&pool]);
        return 0;
    }
    let mut taken = 0;
    for _ in 0..64 {
        if input.is_over() {
            break;
        }
        taken += turn(&engine, &function, &pool, &mut port, &mut input);
    }
    port.close([&pool]);
    assert!(pool.available() <= pool.capacity());
    taken
}

/// One turn of an application; how many frames came.
fn turn(engine: &Engine, function: &Between, pool: &Pool, port: &mut Port, input: &mut Input<'_>) -> u64 {
    let (what, n) = (input.byte(), input.byte());
    let mac = MacAddr([what & 0xfe, 1, 2, 3, 4, n]);
    let mut came = 0;
    match what % 14 {
        0 => drop(port.nic.link()),
        1 => drop(port.nic.stats()),
        2 => drop(port.nic.set_mac(mac)),
        3 => drop(port.nic.set_multicast(&vec![MacAddr([1, 0, 0x5e, 1, 2, n]); usize::from(n & 3)])),
        4 => drop(port.nic.set_promiscuous(n & 1 != 0)),
        5 => drop(port.nic.set_rss_table(&[u16::from(n) % port.rx.len() as u16])),
        6 => {
            let (source, destination) = (None, Some([239, 1, 2, n].into()));
            let (source_port, destination_port) = (None, Some(2000));
            let rule = FlowRule { source, destination, source_port, destination_port, protocol: L4::Udp, queue: 0 };
            drop(port.nic.steer(&rule));
        }
        7 => drop(port.nic.module()),
        8 => drop(port.nic.nvm()),
        9 => drop(port.nic.clock(&mut || 0)),
        10 => write(&function.arenas(), n, input.number(3) as u32, input.number(4) as u32),
        _ => {
            let mut batch = Batch::with_limit(pool, 1 + usize::from(n & 31));
            while batch.len() < usize::from(n >> 4) && batch.push_frame(&[0xff; 60]) {}
            port.tx[0].send(&mut batch);
            batch.clear();
            engine.advance(1_000_000 << (n & 7));
            engine.step();
            for rx in &mut port.rx {
                came += rx.recv(&mut batch) as u64;
                for i in 0..batch.len() {
                    assert!(batch.frame(i).len() <= 2048);
                    std::hint::black_box(batch.meta(i));
                }
                batch.clear();
            }
        }
    }
    came
}

/// Writes what `data` says into a card's registers, and into the memory that it may reach,
/// before a driver has brought it up or behind the driver's back.
pub fn model_meets_anything(card: &Card, data: &[u8]) -> u64 {
    let mut input = Input::new(data);
    let ways = input.byte();
    let (engine, inner) = plug(card, ways & 1 != 0);
    let function = Between::new(inner, &mut input, 0);
    let config = Config { rx_ring: 64, tx_ring: 128, ..Config::default() };
    let mut port = None;
    let pool = Pool::new(256, Addressing::Translated).unwrap();
    if ways & 2 != 0 {
        let mut opened = driver::open(Arc::clone(&function) as Arc<dyn Function>, &config).unwrap();
        function.map(pool.arena()).unwrap();
        opened.rx[0].fill(&pool).unwrap();
        port = Some(opened);
    } else {
        let function: &dyn Function = function.as_ref();
        function.set_bus_master(true).unwrap();
        let arena = Arena::new(1 << 16, Addressing::Translated).unwrap();
        function.map(&arena).unwrap();
    }
    let bars: Vec<Bar> = (0..6).filter_map(|index| function.bar(index).ok()).collect();
    let arenas = function.arenas();
    for _ in 0..512 {
        if input.is_over() {
            break;
        }
        anything(&engine, &function, &bars, &arenas, &mut input);
    }
    engine.advance(1_000_000_000);
    engine.step();
    // What it did to a driver that had come before it is the other target's affair.
    if let Some(port) = port {
        drop(port);
    }
    0
}

/// One access of a driver that knows no rule.
fn anything(engine: &Engine, function: &Between, bars: &[Bar], arenas: &[Arc<Arena>], input: &mut Input<'_>) {
    let what = input.byte();
    let bar = &bars[usize::from(what >> 4) % bars.len()];
    let size = 1 << (what >> 6);
    let offset = |input: &mut Input<'_>| input.number(3) % (bar.size() / 8) * 8 + u64::from(what >> 4 & 1) * 4 % 8;
    match what & 15 {
        0..=3 => bar.write32(offset(input), input.number(4) as u32),
        // An address that the card can reach, in two halves and in one.
        4 | 5 => {
            let arena = &arenas[usize::from(input.byte()) % arenas.len()];
            let iova = arena.iova(usize::from(input.number(2) as u16) * 64 % arena.len());
            let at = offset(input) & !7;
            bar.write32(at, iova as u32);
            bar.write32(at + 4, (iova >> 32) as u32);
        }
        6 => drop(bar.read32(offset(input))),
        7 => match size {
            1 => bar.write8(offset(input), input.byte()),
            2 => bar.write16(offset(input), input.number(2) as u16),
            8 => bar.write64(offset(input) & !7, input.number(8)),
            _ => drop(bar.read64(offset(input) & !7)),
        },
        8..=10 => write(arenas, input.byte(), input.number(3) as u32, input.number(4) as u32),
        11 => {
            let offset = offset(input);
            if let Bar::Served(registers, _) = bar
                && let Some(doorbell) = registers.doorbell(offset)
            {
                doorbell.ring(input.number(4) as u32);
            }
        }
        12 => drop(function.config_write(input.number(2) as u16 & 0xffc, 4, input.number(4) as u32)),
        13 => drop(function.config_read(input.number(2) as u16 & 0xffc, 4)),
        _ => {
            engine.advance(1 << (input.byte() % 40));
            engine.step();
        }
    }
}

//! A card whose registers are ports.

use super::*;

#[test]
fn ports_are_a_region_that_is_read_and_written_and_never_mapped() {
    let served = Served::of("virtio-legacy,wire=loop,mac=02:00:00:00:00:07");
    let mut client = served.connect();
    let region = client.ask(5, &words(&[32, 0, 0, 0, 0, 0, 0, 0])).unwrap();
    assert_eq!((u32_at(&region, 4), u64_at(&region, 16)), (Some(3), Some(32)), "read and write, and no more");
    // As a kernel finds out what it is: bit 0 says ports.
    client.write(7, 0x10, &[0xff; 4]).unwrap();
    assert_eq!(client.read(7, 0x10, 4).unwrap(), 0xffff_ffe1_u32.to_le_bytes());
    assert_eq!(client.read(0, 12, 2).unwrap(), [0xff; 2], "they do not answer yet");
    client.write(7, 4, &[5, 0]).unwrap();
    assert_eq!(client.read(0, 12, 2).unwrap(), 256_u16.to_le_bytes());
    client.write(0, 18, &[1]).unwrap();
    assert_eq!(client.read(0, 18, 1).unwrap(), [1]);
    // There are no accesses of 8 bytes to ports.
    assert_eq!(client.read(0, 20, 8).unwrap(), [2, 0, 0, 0, 0, 7, 0, 0]);
    assert_eq!(client.read(0, 28, 8), Err(libc::EINVAL as u32));
    let sizes: Vec<u8> = served.seen.lock().unwrap().iter().map(|access| access.size).collect();
    assert_eq!(sizes, [2, 2, 1, 1, 4, 4]);
}

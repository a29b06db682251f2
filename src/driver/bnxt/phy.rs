//! What the firmware says of a PHY that has no link, in words.

use super::cmd::port_phy_qcfg::output;
use crate::driver::mailbox::Reply;

/// Why there is no link, as far as PORT_PHY_QCFG tells: "negotiates, FEC off, module in
/// place, remote fault".
pub fn why(state: &Reply) -> String {
    let all = [Some(negotiation(state)), Some(fec(state.get(output::FEC_CFG))), module(state), reason(state)];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// How the speed comes about, and whether there is light.
fn negotiation(state: &Reply) -> String {
    const SIGNAL: u64 = 1;
    let how = match (state.get(output::AUTO_MODE), state.get(output::FORCE_LINK_SPEED)) {
        (0, 0) => "no speed is set".into(),
        (0, speed) if speed.is_multiple_of(10) => format!("set to {} Gbit/s", speed / 10),
        (0, speed) => format!("set to {} Mbit/s", speed * 100),
        _ => "negotiates".into(),
    };
    how + if state.get(output::LINK) == SIGNAL { ", there is a signal" } else { "" }
}

/// Forward error correction, which both ends must agree on.
fn fec(config: u64) -> String {
    const NEGOTIATED: u64 = 1 << 2;
    const KINDS: [(u64, &str); 6] = [
        (1 << 4, "CL74"),
        (1 << 6, "CL91"),
        (1 << 8, "RS544"),
        (1 << 10, "RS544 of IEEE"),
        (1 << 12, "RS272"),
        (1 << 14, "RS272 of IEEE"),
    ];
    let on: Vec<_> = KINDS.iter().filter(|(bit, _)| config & bit != 0).map(|(_, name)| *name).collect();
    match (on.is_empty(), config & NEGOTIATED != 0) {
        (true, false) => "FEC off".into(),
        (true, true) => "FEC negotiated".into(),
        (false, false) => format!("FEC {}", on.join(" or ")),
        (false, true) => format!("FEC negotiated or {}", on.join(" or ")),
    }
}

/// What there is in the cage, as far as the firmware accepts it; `None` if there is no cage.
pub fn module(state: &Reply) -> Option<String> {
    let what = match state.get(output::MODULE_STATUS) {
        0 => "module in place",
        1 => "module refused, its transmitter is off",
        2 => "module not approved",
        3 => "module refused, its power is off",
        4 => "no module",
        5 => "module off, it draws too much current",
        _ => return None,
    };
    Some(what.into())
}

/// What took the link down, as newer firmware says.
fn reason(state: &Reply) -> Option<String> {
    const REASONS: [(u64, &str); 6] = [
        (1 << 0, "remote fault"),
        (1 << 1, "the speed is not allowed on this card"),
        (1 << 2, "the cable was pulled"),
        (1 << 3, "the module is faulty"),
        (1 << 4, "the management controller keeps it down"),
        (1 << 5, "the laser is off"),
    ];
    let bits = state.optional(output::LINK_DOWN_REASON)?;
    REASONS.iter().find(|(bit, _)| bits & bit != 0).map(|(_, reason)| (*reason).into())
}

#[cfg(test)]
mod tests {
    use super::super::cmd::port_phy_qcfg;
    use super::*;

    #[test]
    fn what_the_firmware_says_is_said() {
        let state = |len: usize, bytes: &[(usize, u8)]| {
            let mut body = vec![0; len];
            bytes.iter().for_each(|&(at, byte)| body[at] = byte);
            why(&Reply::new(port_phy_qcfg::COMMAND, body))
        };
        assert_eq!(state(0x37, &[(0x12, 4)]), "negotiates, FEC off, module in place");
        assert_eq!(state(0x67, &[(0x10, 250), (0x34, 0x10), (0x1b, 4)]), "set to 25 Gbit/s, FEC CL74, no module");
        let fault = [(8, 1), (0x12, 4), (0x34, 0x54), (0x5f, 1)];
        let said = "negotiates, there is a signal, FEC negotiated or CL74 or CL91, module in place, remote fault";
        assert_eq!(state(0x67, &fault), said);
    }
}

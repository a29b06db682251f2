//! What the user can do about an error, in the words of this command line.

use crate::error::{Error, Remedy};

/// The error's line, with its remedy behind it.
pub fn line(error: &Error) -> String {
    match error.remedy() {
        Some(remedy) => format!("{error}; {}", words(remedy)),
        None => error.to_string(),
    }
}

/// What to do.
pub fn words(remedy: &Remedy) -> String {
    match remedy {
        Remedy::ListCards => "`bmnic list` shows the cards of this machine".into(),
        Remedy::ListModels => "`bmnic emulate --list` names all".into(),
        Remedy::Bind(card) => format!("run `sudo bmnic bind {card}`"),
        Remedy::BindForUser(card) => format!("run `sudo bmnic bind --user $USER {card}`, or run this as root"),
        Remedy::BindByHand(card) => format!("`bmnic bind -b DRIVER {card}` does that"),
        Remedy::Restore(card) => format!("`bmnic bind --restore {card}` tries again"),
        Remedy::Modprobe => "or leave out --no-modprobe".into(),
        Remedy::Force => "--force binds it all the same".into(),
        Remedy::AnotherCard => "`bmnic list` shows other cards, and --force lets these die".into(),
        Remedy::NoIommu => "or accept the risk with --noiommu".into(),
        Remedy::Reset => "reset the card (`bmnic bind --restore`, then bind it again); if that does not help, update its firmware or try another".into(),
        Remedy::Poll => "poll (`--wait poll`)".into(),
        Remedy::Interrupts => "bind it to vfio-pci, use fewer queues, or poll (`--wait poll`)".into(),
        Remedy::Push => "use --tx-path push".into(),
        Remedy::Dma => "use --tx-path dma".into(),
        Remedy::WholeFrame => "use --tx-path ctpio, which sends nothing before all of a frame is stored".into(),
        Remedy::HugePages(bytes) => format!("run `sudo bmnic hugepages --setup {}M`", bytes.div_ceil(1 << 20)),
        Remedy::PagesOrNone => "write a size like 512M, or use --clear to free them".into(),
        Remedy::Record => "record one with `bmnic capture`".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_remedy_follows_the_line() {
        let error = Error::new(Kind::Refused, "0000:03:00.0: the kernel's ixgbe has it");
        assert_eq!(line(&error), "0000:03:00.0: the kernel's ixgbe has it");
        let error = error.with_remedy(Remedy::Bind("0000:03:00.0".into()));
        assert_eq!(line(&error), "0000:03:00.0: the kernel's ixgbe has it; run `sudo bmnic bind 0000:03:00.0`");
        assert_eq!(words(&Remedy::HugePages(3 << 20 | 1)), "run `sudo bmnic hugepages --setup 4M`");
    }
}

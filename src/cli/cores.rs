//! Which threads move packets, and where they run.

use super::output::Output;
use super::session::Session;
use crate::error::{Error, Kind, Result};
use crate::sys::{self, Roots};
use std::fmt::Display;
use std::str::FromStr;

/// Highest number of a processor that the kernel's set of them has room for.
const CPU_MAX: usize = libc::CPU_SETSIZE as usize - 1;

/// Most threads: as many as queues can be asked for.
const MOST: usize = 128;

/// The threads of the data path.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Cores {
    /// Threads that move packets, each with queues of its own [default: 1, or as many as --cpu names]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=128))]
    cores: Option<u16>,
    /// Processors for these threads, in their order: 2,4-6
    ///
    /// Without it the kernel chooses, and may move them.
    #[arg(long, value_name = "LIST")]
    cpu: Option<CpuList>,
}

impl Cores {
    /// How many threads there are to be; `None` if nobody said.
    pub fn asked(&self) -> Option<usize> {
        let named = self.cpu.as_ref().map(|list| list.0.len());
        self.cores.map(usize::from).or(named)
    }

    /// The same, and where one more thread is to run that serves these: on the last of several
    /// processors, unless there are to be as many of these.
    ///
    /// # Errors
    /// As [`Cores::places`].
    pub fn places_and_one(&self) -> Result<(Vec<Option<usize>>, Option<usize>)> {
        let named = self.cpu.as_ref().map_or(&[][..], |list| &list.0);
        let threads = self.cores.map_or(named.len().saturating_sub(1).max(1), usize::from);
        let most = Cores { cores: None, cpu: self.cpu.clone() };
        match named.get(threads) {
            // All that are named are looked at.
            Some(_) => {
                let mut places = most.places()?;
                let one = places[threads];
                places.truncate(threads);
                Ok((places, one))
            }
            None => Ok((self.places()?, None)),
        }
    }

    /// Where each thread is to run, in their order; `None` is anywhere.
    ///
    /// # Errors
    /// [`Kind::Usage`] if more threads than processors are named, or one that this
    /// process may not run on.
    pub fn places(&self) -> Result<Vec<Option<usize>>> {
        let threads = self.asked().unwrap_or(1);
        if threads > MOST {
            let line = format!("--cpu names {threads} processors, and there are {MOST} threads at most; name fewer");
            return Err(Error::new(Kind::Usage, line));
        }
        let Some(CpuList(cpus)) = &self.cpu else { return Ok(vec![None; threads]) };
        if threads > cpus.len() {
            let named = cpus.len();
            let line = format!(
                "--cores {threads} asks for more threads than the {named} processors that --cpu names; name one for each"
            );
            return Err(Error::new(Kind::Usage, line));
        }
        let may = sys::affinity().map_err(|e| Error::io("asking where this process may run", e))?;
        if let Some(cpu) = cpus.iter().find(|cpu| !may.contains(cpu)) {
            let line = format!("this process may not run on processor {cpu} of --cpu; it may use {}", listed(&may));
            return Err(Error::new(Kind::Usage, line));
        }
        Ok(cpus[..threads].iter().copied().map(Some).collect())
    }
}

/// Keeps the calling thread where [`Cores::places`] says.
///
/// # Errors
/// What the kernel says of it.
pub fn stay(place: Option<usize>) -> Result<()> {
    let Some(cpu) = place else { return Ok(()) };
    sys::set_affinity(&[cpu]).map_err(|e| Error::io(format!("keeping a thread on processor {cpu}"), e))
}

/// Does `work`, whose threads stay where [`Cores::places_and_one`] says: each begins where the one
/// is that starts it.
///
/// # Errors
/// What the kernel says of it.
pub fn staying<T>(place: Option<usize>, work: impl FnOnce() -> T) -> Result<T> {
    if place.is_none() {
        return Ok(work());
    }
    let failed = |e| Error::io("having a thread begin on a processor", e);
    let before = sys::affinity().map_err(failed)?;
    stay(place)?;
    let done = work();
    sys::set_affinity(&before).map_err(failed)?;
    Ok(done)
}

/// Keeps the calling thread, and those that it starts from now on, off the `places` that are
/// named for others, if there are more.
///
/// # Errors
/// What the kernel says of it.
pub fn step_aside(places: &[Option<usize>]) -> Result<()> {
    let failed = |e| Error::io("keeping other threads off the processors of --cpu", e);
    let mut rest = sys::affinity().map_err(failed)?;
    let all = rest.len();
    rest.retain(|cpu| !places.contains(&Some(*cpu)));
    if rest.is_empty() || rest.len() == all { Ok(()) } else { sys::set_affinity(&rest).map_err(failed) }
}

/// How many processors this process may use, where the kernel says so.
pub fn processors() -> Option<usize> {
    sys::affinity().ok().map(|may| may.len())
}

/// Warns of `places` that are on no NUMA node of a card: what they do with its packets goes from
/// one node to the other.
pub fn warn_of_far(places: &[Option<usize>], session: &Session, roots: &Roots, output: &Output) {
    let cards: Vec<(&str, u16)> = (session.devices.iter().enumerate())
        .filter_map(|(port, device)| Some((&*device.device, session.numa_node(port)?)))
        .collect();
    far(places, &cards, roots).iter().for_each(|line| output.warn(line));
}

/// A line for each of `places` that is on another node than all `cards`, whose nodes are known.
fn far(places: &[Option<usize>], cards: &[(&str, u16)], roots: &Roots) -> Vec<String> {
    let far = places.iter().flatten().filter_map(|&cpu| {
        let node = node_of(cpu, roots)?;
        let &(device, own) = cards.first()?;
        cards.iter().all(|(_, own)| *own != node).then(|| {
            format!(
                "processor {cpu} of --cpu is on NUMA node {node} and {device} on {own}, so each packet goes from one to the other; name one of node {own}"
            )
        })
    });
    far.collect()
}

/// The NUMA node that a processor is on: its directory has a link of that name
/// (Documentation/ABI/stable/sysfs-devices-node).
fn node_of(cpu: usize, roots: &Roots) -> Option<u16> {
    let entries = std::fs::read_dir(roots.sys.join(format!("devices/system/cpu/cpu{cpu}"))).ok()?;
    entries.flatten().find_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok())
}

/// Processors by number, as taskset and DPDK write them; each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(Vec<usize>);

impl CpuList {
    /// Them, in the order in which they were named.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().copied()
    }
}

impl FromStr for CpuList {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = |why: &dyn Display| {
            Error::new(Kind::Usage, format!("'{text}' is no list of processors: {why}; write one like 2,4-6"))
        };
        let number = |digits: &str| match digits.parse::<usize>() {
            Ok(cpu) if cpu <= CPU_MAX => Ok(cpu),
            Ok(_) => Err(refused(&format_args!("their numbers end at {CPU_MAX}"))),
            Err(_) => Err(refused(&format_args!("'{digits}' is no number"))),
        };
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(refused(&format_args!("{part} runs backwards")));
            }
            for cpu in first..=last {
                if cpus.contains(&cpu) {
                    return Err(refused(&format_args!("{cpu} is in it twice")));
                }
                cpus.push(cpu);
            }
        }
        Ok(CpuList(cpus))
    }
}

/// `0-3,6`: the shortest way to write these numbers, which rise.
fn listed(cpus: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => runs.push((cpu, cpu)),
        }
    }
    let run = |&(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(cores: Option<u16>, cpu: Option<&str>) -> Cores {
        Cores { cores, cpu: cpu.map(|list| list.parse().unwrap()) }
    }

    #[test]
    fn a_list_has_numbers_and_ranges_and_each_processor_once() {
        let parsed = |text: &str| text.parse::<CpuList>().map(|list| list.0).map_err(|e| e.to_string());
        assert_eq!(parsed("2,4-6"), Ok(vec![2, 4, 5, 6]));
        assert_eq!(parsed("1,0"), Ok(vec![1, 0]), "their order is kept");
        for (text, why) in
            [("", "no number"), ("1,,2", "no number"), ("6-4", "backwards"), ("1,0-2", "1 is in it twice")]
        {
            let refused = parsed(text).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
        assert!(parsed("0-99999999").unwrap_err().contains("1023"));
    }

    #[test]
    fn a_processor_of_another_node_than_all_cards_is_told_with_both() {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::under(temp.path());
        for (cpu, node) in [(0, 0), (1, 0), (2, 1)] {
            std::fs::create_dir_all(roots.sys.join(format!("devices/system/cpu/cpu{cpu}/node{node}"))).unwrap();
        }
        // Of a machine without nodes nothing is known.
        std::fs::create_dir_all(roots.sys.join("devices/system/cpu/cpu3/topology")).unwrap();
        let places = [Some(0), None, Some(2), Some(3), Some(9)];
        let told = far(&places, &[("03:00.0", 0)], &roots);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("processor 2 of --cpu is on NUMA node 1 and 03:00.0 on 0"), "{told:?}");
        assert_eq!(far(&places, &[], &roots), [""; 0]);
        assert_eq!(far(&places, &[("03:00.0", 0), ("83:00.0", 1)], &roots), [""; 0]);
        assert_eq!(far(&places, &[("83:00.0", 1)], &roots).len(), 1);
    }

    #[test]
    fn a_thread_has_a_place_if_one_was_named() {
        assert_eq!(Cores::default().places().unwrap(), [None]);
        assert_eq!(cores(Some(3), None).places().unwrap(), [None; 3]);
        let may = sys::affinity().unwrap();
        let all = listed(&may);
        assert_eq!(cores(None, Some(&all)).asked(), Some(may.len()));
        assert_eq!(cores(Some(1), Some(&all)).places().unwrap(), [Some(may[0])]);
        let more = u16::try_from(may.len()).unwrap() + 1;
        let refused = cores(Some(more), Some(&all)).places().unwrap_err().to_string();
        assert!(refused.contains("name one for each"), "{refused}");
    }

    #[test]
    fn the_last_of_several_processors_is_another_threads_unless_all_are_asked_for() {
        let may = sys::affinity().unwrap();
        let [first, second, ..] = may[..] else { return };
        let (both, one) = (format!("{first},{second}"), first.to_string());
        for (threads, cpu, places, own) in [
            (None, None, vec![None], None),
            (Some(2), None, vec![None; 2], None),
            (None, Some(&one), vec![Some(first)], None),
            (None, Some(&both), vec![Some(first)], Some(second)),
            (Some(1), Some(&both), vec![Some(first)], Some(second)),
            (Some(2), Some(&both), vec![Some(first), Some(second)], None),
        ] {
            let found = cores(threads, cpu.map(String::as_str)).places_and_one().unwrap();
            assert_eq!(found, (places, own), "{threads:?} {cpu:?}");
        }
        assert!(cores(Some(3), Some(&both)).places_and_one().is_err());
        let where_it_began =
            staying(Some(second), || std::thread::spawn(sys::affinity).join().unwrap().unwrap()).unwrap();
        assert_eq!((where_it_began, sys::affinity().unwrap()), (vec![second], may));
    }

    #[test]
    fn a_processor_out_of_reach_is_refused_with_those_within() {
        let may = sys::affinity().unwrap();
        let beyond = (0..=CPU_MAX).find(|cpu| !may.contains(cpu)).unwrap();
        let refused = cores(None, Some(&beyond.to_string())).places().unwrap_err().to_string();
        assert!(refused.contains(&format!("processor {beyond} ")) && refused.ends_with(&listed(&may)), "{refused}");
        assert_eq!(listed(&[0, 1, 2, 6, 8, 9]), "0-2,6,8-9");
    }
}

//! The recording of a real ConnectX-4 Lx, taken apart. The library's own tests read it, and
//! those of the replay.

/// The recording.
const RECORDING: &str = include_str!("connectx-4-lx.txt");

/// One command of it.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Its name, without spaces.
    pub name: String,
    /// Words 0 to 3 and 12 to 15 of the entry, as it was sent and as it came back.
    pub sent: Vec<u32>,
    pub back: Vec<u32>,
    pub input: Vec<u8>,
    pub output: Vec<u8>,
}

/// Words as the wire has them.
pub fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// All bytes of an entry: the `words` around the first 16 of a request and of an answer.
pub fn entry(words: &[u32], input: &[u8], output: &[u8]) -> Vec<u8> {
    [&bytes(&words[..4])[..], &input[..16], &output[..16], &bytes(&words[4..])].concat()
}

fn words(text: &str) -> Vec<u32> {
    text.split_whitespace().filter(|word| *word != "|").map(|word| u32::from_str_radix(word, 16).unwrap()).collect()
}

/// Its commands, in order.
pub fn commands() -> Vec<Recorded> {
    let mut commands: Vec<Recorded> = Vec::new();
    let mut to_output = false;
    for line in RECORDING.lines().filter(|line| !line.starts_with('#')) {
        let (key, rest) = line.trim_start().split_once(' ').unwrap_or((line.trim_start(), ""));
        if key == "cmd" {
            let name = rest.splitn(4, ' ').nth(3).unwrap().replace(' ', "_");
            commands.push(Recorded { name, ..Recorded::default() });
            continue;
        }
        let command = commands.last_mut().unwrap();
        match key {
            "entry.in" => {
                command.sent = words(rest);
                command.input = vec![0; command.sent[1].max(16) as usize];
                command.output = vec![0; command.sent[6].max(16) as usize];
            }
            "entry.out" => command.back = words(rest),
            "in" | "out" => to_output = key == "out",
            "(all" => {}
            at => {
                let at = usize::from_str_radix(at.trim_end_matches(':'), 16).unwrap();
                let to = if to_output { &mut command.output } else { &mut command.input };
                let row = bytes(&words(rest));
                let len = row.len().min(to.len() - at);
                to[at..at + len].copy_from_slice(&row[..len]);
            }
        }
    }
    commands
}

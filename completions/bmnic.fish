# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_bmnic_global_optspecs
    string join \n json json-lines q/quiet v/verbose color= strict link-wait= trace= restore-on-exit h/help V/version
end

function __fish_bmnic_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_bmnic_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_bmnic_using_subcommand
    set -l cmd (__fish_bmnic_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c bmnic -n "__fish_bmnic_needs_command" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_needs_command" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_needs_command" -l trace -d 'Write each register access, and each command with its answer, to this file' -r -F
complete -c bmnic -n "__fish_bmnic_needs_command" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_needs_command" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_needs_command" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_needs_command" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_needs_command" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_needs_command" -l restore-on-exit -d 'Take the cards from the kernel for this run alone, and give them back when it ends'
complete -c bmnic -n "__fish_bmnic_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_needs_command" -s V -l version -d 'Print version'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "bind" -d 'Hand a card to bmnic, or give it back to its kernel driver'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "doctor" -d 'See whether this machine is fit for a real card, and how to make it so'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "tune" -d 'Set this machine up for packets, or put it back as it was'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "hugepages" -d 'Show or change the huge pages of this machine'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "fwd" -d 'Forward packets between two ports'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "pktgen" -d 'Generate packets at a given rate'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "capture" -d 'Capture packets into a file, or print them'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "demo" -d 'Show what bmnic does: send, forward, capture, measure, all on emulated cards'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "ctl" -d 'Change a capture that runs, or ask how far it is'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "latency" -d 'Measure latency'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "throughput" -d 'Measure throughput over frame sizes'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "compare-dpdk" -d 'Compare with DPDK on the same card in the same run'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "check" -d 'Check step by step whether a card does what a card does'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "list" -d 'List cards and what can be done with them'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "emulate" -d 'List emulated cards, or serve one to another program'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "man" -d 'Show the page of the manual about bmnic, or about a command'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "completions" -d 'Print the completion script of a shell'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -s b -l driver -d 'Driver to have the cards' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -l vfs -d 'Make this many virtual functions of each card, which stays with its driver; 0 removes them' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -l user -d 'User to own the device node: a name or a number' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -l group -d 'Group to own the device node and to read and write it: a name or a number' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -l trace -d 'Of no use here: this command opens no card' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -s u -l unbind -d 'Leave the cards without a driver'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -s s -l status -d 'Show which driver has which card'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -l restore -d 'Put cards back as they were before bmnic took them; \'all\' or no card means every one'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -s n -l dry-run -d 'Print what would be written and change nothing'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -l noiommu -d 'Where there is no IOMMU, do without: the card can then reach all memory'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -l force -d 'Go on although a card is in use; what uses it dies'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -l no-modprobe -d 'Do not load the driver\'s module'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -l persist -d 'At each boot too; with --restore: not any more'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -l restore-on-exit -d 'Of no use here: this command takes no card from the kernel'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand doctor" -l cpu -d 'Processors to be left alone for packets: 2,4-6 [default: the isolated ones, or the last quarter]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand doctor" -l hugepages -d 'Huge pages that should be free, on the card\'s NUMA node if a card is named [default: 128M]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand doctor" -l jitter -d 'How long to watch the clock for jitter; 0 leaves it out' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand doctor" -l trace -d 'Of no use here: this command opens no card' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand doctor" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_using_subcommand doctor" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand doctor" -l restore-on-exit -d 'Of no use here: this command takes no card from the kernel'
complete -c bmnic -n "__fish_bmnic_using_subcommand doctor" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand doctor" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_using_subcommand doctor" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand doctor" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand doctor" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -l cpu -d 'Processors to be left alone for packets: 2,4-6 [default: the isolated ones, or the last quarter]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -l hugepages -d 'Huge pages that should be free, on the card\'s NUMA node if a card is named [default: 128M]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -l user -d 'User to own the cards\' device nodes: a name or a number' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -l jitter -d 'Watch the clock for jitter before and after, this long each' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -l trace -d 'Of no use here: this command opens no card' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -s n -l print -d 'Print what would be written and change nothing (this is the default)'
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -l apply -d 'Do it, all or nothing; `--undo` puts it back'
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -l undo -d 'Put everything back as it was, also after a run that was killed'
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -l no-turbo -d 'One speed for all processors: slower, and figures are alike'
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -l restore-on-exit -d 'Of no use here: this command takes no card from the kernel'
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -s r -l setup -d 'Have this much of free pages: 512M, 1G' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -s p -l pagesize -d 'Size of a page: 2M or 1G; default: 2M to set up, all to clear' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -s n -l node -d 'NUMA node; default: the kernel spreads them over all' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -s m -l mount -d 'Mount hugetlbfs on DIR (/dev/hugepages), for programs that need files; bmnic does not' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -s u -l unmount -d 'Unmount hugetlbfs from DIR (/dev/hugepages)' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -s U -l user -d 'User to own the mount: a name or a number' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -s G -l group -d 'Group to own the mount: a name or a number' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -l trace -d 'Of no use here: this command opens no card' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -s s -l show -d 'Show the pools of each node and size (this is the default)'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -s c -l clear -d 'Give back the pages that nobody uses'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -s w -l who -d 'Show which processes hold huge pages, and files that none holds any more'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -l clean-stale -d 'Remove the files of hugetlbfs that no process holds, which killed programs left'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -l persist -d 'With --setup: have them after each boot too; with --clear: not any more'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -l dry-run -d 'Print what would be written and change nothing'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -l restore-on-exit -d 'Of no use here: this command takes no card from the kernel'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s m -l mode -d 'What to do to frames on their way' -r -f -a "io\t'Nothing'
mac\t'Set both addresses: from the port, to its peer'
macswap\t'Swap source and destination address'
5tswap\t'Swap source and destination: MAC and IP addresses, ports of UDP and TCP'
csum\t'Have the card fill in the checksums of IPv4, TCP and UDP, whatever they were'
rxonly\t'Count what comes, and let it go'
txonly\t'Send UDP datagrams of 64 bytes as fast as the port takes them, and let go of what comes'
icmpecho\t'Answer ARP requests, for any address, and echo requests; let all else go'"
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l eth-peer -d 'Destination address for --mode mac and txonly: the first is for port A, the second for B, and so on' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s f -l filter -d 'Forward the packets of this expression only, in the language of tcpdump' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s w -l wait -d 'How to wait for packets' -r -f -a "poll\t'Look again and again: fastest, takes a core'
irq\t'Sleep until the card interrupts'
adaptive\t'Look while there is traffic, and sleep when there is none for a while'"
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l sleep-after -d 'Looks in a row that find nothing, after which --wait adaptive sleeps [default: 1024]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l impair -d 'Do to frames what a bad wire does: loss=1%,dup=0.1%,reorder=1%,corrupt=0.1%,delay=1ms' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s I -l interval -d 'Time between two looks at the counters: each is a line, or with --json-lines a document' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l max-frame -d 'Longest frame to forward, in bytes without FCS [default: 9216, or what the card takes]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l cores -d 'Threads that move packets, each with queues of its own [default: 1, or as many as --cpu names]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l cpu -d 'Processors for these threads, in their order: 2,4-6' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l allow-loss -d 'Share of packets that may be lost; more ends with exit code 3' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s d -l duration -d 'Stop after this time: 500ms, 2s, 1m; 0 is until Ctrl-C' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s c -l count -d 'Stop after this many packets: 1000, 1M; 0 is no limit' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l rxq -d 'Receive queues; more than one are fed by RSS' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l txq -d 'Transmit queues' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l rxd -d 'Descriptors in each receive ring, a power of two from 64 to 4096 [default: 512]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l txd -d 'Descriptors in each transmit ring, a power of two from 64 to 4096 [default: 512]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l batch -d 'Most packets to take in one go, 1 to 64' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l trace -d 'Write each register access, and each command with its answer, to this file' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s u -l unidirectional -d 'Forward from A to B only, from C to D, and so on'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l cycles -d 'Count the cycles that a packet takes, as testpmd does with --record-core-cycles'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l inline -d 'Play emulated cards in the thread that forwards for them, not in one of their own'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l no-sandbox -d 'Keep all rights once cards and files are open, which are given up otherwise'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l restore-on-exit -d 'Take the cards from the kernel for this run alone, and give them back when it ends'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -s i -l device -d 'Card: 0000:03:00.0, 03:00.0, emu:82599,OPTIONS, or packet:IFACE, xdp:IFACE of the kernel' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -s r -l rate -d 'How fast: 14.88M or 1kpps (packets), 2Gbit (on the wire, with preamble and gap), 50%, line' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l pattern -d 'How packets follow one another at --rate [default: cbr, or burst with --burst]' -r -f -a "cbr\t'One by one, each as far from the next'
poisson\t'At random, as independent arrivals'
burst\t'As many as --burst says together, each burst as far from the next'"
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l burst -d 'Packets that leave together; the rate stays [default: 1]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l pace -d 'Who keeps the rate: software, or the card itself, which some can (82599, X540, X550) [default: software]' -r -f -a "software\t'The thread that sends'
card\t'The card, by the rate of its transmit queue'"
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -s s -l size -d 'Frame sizes with FCS: 64, a list 64,1518, a range 64-1518, or imix (IMIX_v4_1 of CSIT)' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l proto -d 'What the frames hold [default: udp]' -r -f -a "udp\t'UDP datagrams'
tcp\t'TCP segments of no connection'
icmp\t'Echo requests, ICMP or ICMPv6'
arp\t'ARP requests for the destination address'
raw\t'Nothing but --payload behind the Ethernet header'"
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l src-mac -d 'Source address: one, a-b, a-b/step, a-b/rand, or rand [default: the card\'s]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l dst-mac -d 'Destination address, as above [default: 02:00:00:00:00:02; broadcast for ARP]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l src-ip -d 'Source address, IPv4 or IPv6: one, a-b, a network a/prefix, either with /step or /rand, or rand (of the test network) [default: 198.18.0.1]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l dst-ip -d 'Destination address, as above [default: 198.19.0.1]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l sport -d 'Source port, or identifier of ICMP: one, a-b, a-b/step, a-b/rand, or rand [default: 9]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l dport -d 'Destination port, as above [default: 9]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l vlan -d 'VLAN tag: id or id:priority, the id one, a-b, a-b/step, a-b/rand, or rand; 10.20 is two tags, outer.inner' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l outer-tpid -d 'Type of the first tag: 0x8100, 0x88a8 or 0x9100 [default: 0x88a8 of two tags, else 0x8100]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l ttl -d 'Time to live, or hop limit [default: 64]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l tos -d 'Type of service of IPv4 and traffic class of IPv6, a byte: 0 to 255 or 0x00 to 0xff' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l dscp -d 'The upper six bits of it: 0 to 63, or a name like ef, af41 or cs6' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l ecn -d 'The lower two bits of it: not-ect, ect0, ect1 or ce' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l tcp-flags -d 'Flags of TCP: syn, syn,ack, a number like 0x12, or none [default: ack]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l ethertype -d 'Type of what follows the Ethernet header of --proto raw [default: 0x88b5, experimental]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l payload -d 'What is behind the headers: hexadecimal digits, or a file that has the bytes' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l bad-csum -d 'Send wrong checksums, to see what finds them: of the IP header, of UDP, TCP or ICMP, or both' -r -f -a "ip\t'That of the IPv4 header'
l4\t'That of UDP, TCP or ICMP'
both\t'Both of them'
fcs\t'The check sequence of the frame, which cards make themselves'"
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l template -d 'Headers of any stack from a file, a line for each: eth, vlan, mpls, ipv4, ipv6, udp, tcp, icmp, icmp6, vxlan, geneve, gre, payload' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l seed -d 'Seed of what is random, in frames and in times [default: 1]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l pcap -d 'Send the packets of this pcap or pcapng file; - is standard input' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l speed -d 'How fast to replay, against how it was recorded: 1x, 0.5x, 10x [default: 1x]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l max-gap -d 'Longest gap between two packets, as they are sent; longer ones are cut to it' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -s l -l loop -d 'How often to replay the file; 0 is until told to stop' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l schedule -d 'Send packets at the times of this file, - is standard input: a line for each, with the nanoseconds from the start and what leaves then' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l respond -d 'Answer ARP, neighbour discovery and ping for the addresses that packets are sent from' -r -f -a "beside\t'While packets are sent'
only\t'And send nothing else'"
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -s w -l write -d 'Write the packets to this capture file and send none' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l format -d 'Format of that file: pcap or pcapng' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l queues -d 'Transmit queues, used in turn; at least one for each thread; the same as --txq' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l prepare -d 'Lay the packets of this pcap or pcapng file ready at the card, and send one on a trigger' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l fire-on -d 'What sends one: udp:ADDRESS:PORT, unix:PATH, signal, or match:EXPRESSION; several are looked at in turn' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l tx-path -d 'Way of these packets to the card: auto, dma, push, pio [default: auto]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l cores -d 'Threads that move packets, each with queues of its own [default: 1, or as many as --cpu names]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l cpu -d 'Processors for these threads, in their order: 2,4-6' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l allow-loss -d 'Share of packets that may be lost; more ends with exit code 3' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l allow-shortfall -d 'Share by which the rate may stay below --rate; more ends with exit code 3' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -s d -l duration -d 'Stop after this time: 500ms, 2s, 1m; 0 is until Ctrl-C' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -s c -l count -d 'Stop after this many packets: 1000, 1M; 0 is no limit' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l rxq -d 'Receive queues; more than one are fed by RSS' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l txq -d 'Transmit queues' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l rxd -d 'Descriptors in each receive ring, a power of two from 64 to 4096 [default: 512]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l txd -d 'Descriptors in each transmit ring, a power of two from 64 to 4096 [default: 512]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l batch -d 'Most packets to take in one go, 1 to 64' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l trace -d 'Write each register access, and each command with its answer, to this file' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l print -d 'Print the first packets and send none'
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l no-sandbox -d 'Keep all rights once cards and files are open, which are given up otherwise'
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l restore-on-exit -d 'Take the cards from the kernel for this run alone, and give them back when it ends'
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s i -l device -d 'Card: 0000:03:00.0, 03:00.0, emu:82599,OPTIONS, or IFACE of the kernel; several with -i for each' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s w -l write -d 'The capture file, as dumpcap and tcpdump name it' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s f -l filter -d 'Packets to keep, as one word' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l push-down -d 'What of the filter is left to the card, where it can: what is exact, flows too, or nothing' -r -f -a "exact\t'What leaves out no packet that the filter wants: destination addresses and VLANs'
flows\t'Flows too, which the card tells by its own parser'
off\t'Nothing'"
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l format -d 'Format of the file: pcap (in nanoseconds) or pcapng [default: pcap, or pcapng if that is needed]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l capture-comment -d 'A comment on the file, in pcapng; may be given several times' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s s -l snaplen -d 'Bytes to keep of each packet; 0 is all of it' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s b -l ring-buffer -d 'Begin another file when: duration:10s, interval:1h, filesize:1000 (kB) or packets:1M' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s a -l autostop -d 'Stop after: duration:1h, filesize:1000 (kB), packets:1M, or files:N with -b, -C or -G' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s G -l rotate-seconds -d 'Begin another file every so many seconds, called by strftime: out-%Y%m%d%H%M%S.pcap' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s C -l file-size -d 'Begin another file when one is larger, in millions of bytes unless it has a unit' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s W -l file-count -d 'With -C, overwrite the oldest of so many files; with -G, stop after so many' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l compress -d 'Compress what is written [default: gzip for a FILE that ends in .gz, else none]' -r -f -a "none\t'As it is'
gzip\t'RFC 1952'"
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l buffer -d 'Memory that bridges the pauses of the disk' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l ring -d 'The same in huge pages, which are all there before the first packet, like 8G' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l max-frame -d 'Longest frame to receive, in bytes without FCS [default: 9216, or what the card takes]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l publish -d 'Keep packets in a ring of this name, which any number of programs read meanwhile' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l publish-size -d 'Memory of the ring: what readers may be behind' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l publish-to -d 'Who may read the ring besides this user and root: a group, or all' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l from -d 'Take packets out of the ring that another process publishes, not off a card' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l control -d 'Listen to `bmnic ctl NAME`, which changes the filter and asks for counts meanwhile' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l perf-test -d 'Capture nothing: replace these parts by dummies and say what the rest manages' -r -f -a "card\t'The card, its driver and its rings: packets lie in memory'
ring\t'What hands chunks of records to the thread that writes: they are dropped before'
disk\t'The disk: that thread drops them'"
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l cores -d 'Threads that move packets, each with queues of its own [default: 1, or as many as --cpu names]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l cpu -d 'Processors for these threads, in their order: 2,4-6' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l allow-loss -d 'Share of packets that may be lost; more ends with exit code 3' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s d -l duration -d 'Stop after this time: 500ms, 2s, 1m; 0 is until Ctrl-C' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s c -l count -d 'Stop after this many packets: 1000, 1M; 0 is no limit' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l rxq -d 'Receive queues; more than one are fed by RSS' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l txq -d 'Transmit queues' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l txd -d 'Descriptors in each transmit ring, a power of two from 64 to 4096 [default: 512]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l batch -d 'Most packets to take in one go, 1 to 64' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l rxd -d 'Descriptors in each receive ring, a power of two from 64 to 4096 [default: 4096, or 512 and more of several]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l trace -d 'Write each register access, and each command with its answer, to this file' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s x -l hex -d 'Print the bytes of each packet too, behind its Ethernet header'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s X -l hex-text -d 'The same, and as letters beside it'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s e -l ethernet -d 'Print the Ethernet header of each packet too'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s D -l list-interfaces -d 'List cards, as dumpcap lists interfaces and `bmnic list` does, and capture nothing'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l print-filter -d 'Print the filter\'s program, as tcpdump -d does, and capture nothing'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l history -d 'Begin with the oldest packet that is left in the ring, not with the next'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l repair -d 'Capture nothing: cut a record off the end of FILE that a crash has torn'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l guard -d 'Stand by and cut a torn record off the end of FILE when standard input ends'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l no-sandbox -d 'Keep all rights once cards and files are open, which are given up otherwise'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l restore-on-exit -d 'Take the cards from the kernel for this run alone, and give them back when it ends'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand demo" -s d -l duration -d 'How long packets are sent' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand demo" -s w -l write -d 'Write what is captured into this file; without it none is made' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand demo" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_using_subcommand demo" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand demo" -l trace -d 'Write each register access, and each command with its answer, to this file' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand demo" -l restore-on-exit -d 'Of no use here: this command takes no card from the kernel'
complete -c bmnic -n "__fish_bmnic_using_subcommand demo" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand demo" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_using_subcommand demo" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand demo" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand demo" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand ctl" -l trace -d 'Of no use here: this command opens no card' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand ctl" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_using_subcommand ctl" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand ctl" -l restore-on-exit -d 'Of no use here: this command takes no card from the kernel'
complete -c bmnic -n "__fish_bmnic_using_subcommand ctl" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand ctl" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_using_subcommand ctl" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand ctl" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand ctl" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand ctl" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -s d -l duration -d 'Stop after this time: 500ms, 2s, 1m; 0 is until Ctrl-C' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -s c -l count -d 'Stop after this many packets: 1000, 1M; 0 is no limit' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -s w -l warmup -d 'Time before anything is counted' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -s s -l size -d 'Frame sizes in bytes, FCS included, a row for each: 64,512,9018 or 64-1518/64' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -s r -l rate -d 'How often to send: 100k, 10Mbit, 1% [default: 100k, or 10k with --load, several sizes or jumbo frames]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l load -d 'Send other traffic beside the probe, in per cent of line rate, a row for each: 0,10,50,90%' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l load-size -d 'Frame sizes of that traffic, FCS included: 64, 64,594,1518, 64-1518, imix, or same' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l tx-path -d 'Way of frames to the card: auto, dma, push, pio, ctpio, ctpio=BYTES, or all' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l percentiles -d 'Percentiles to print instead of 50, 90, 99, 99.9 and 99.99' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l allow-loss -d 'Share of packets that may be lost; more ends with exit code 3' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l allow-shortfall -d 'Share by which the rate may stay below --rate; more ends with exit code 3' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l hgrm -d 'Write the percentile distribution here, for HdrHistogram\'s plotter' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l hlog -d 'Write the samples of each interval here while it runs: HdrHistogram\'s interval log' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l interval -d 'Length of an interval of --hlog' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l svg -d 'Write the same picture into this SVG file' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l html -d 'Write all of it into this HTML file: tables, the picture, the machine, the command line' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l over -d 'Draw this earlier run, which --hgrm wrote, with it; up to five of them' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l raw -d 'Write every sample here: sequence, due, service and intended time in ns' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l trace -d 'Write each register access, and each command with its answer, to this file' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l loop -d 'Send to ourselves inside the card, where no cable leads back'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l stages -d 'Show the stages of a frame: doorbell, fetch, wire, write-back, poll'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l intended -d 'Count from when a packet was due, not from when it was sent'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l p50 -d 'Make the median the headline; with -q it is the only output'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l p90 -d 'Make the 90th percentile the headline'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l p99 -d 'Make the 99th percentile the headline'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l p999 -d 'Make the 99.9th percentile the headline'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l p9999 -d 'Make the 99.99th percentile the headline'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l min -d 'Make the least the headline'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l mean -d 'Make the mean the headline'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l max -d 'Make the greatest the headline'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l plot -d 'Draw the distribution below the table'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l no-sandbox -d 'Keep all rights once cards and files are open, which are given up otherwise'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l restore-on-exit -d 'Take the cards from the kernel for this run alone, and give them back when it ends'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -s s -l sizes -d 'Frame sizes in bytes, FCS included; `imix` is IMIX_v4_1 of CSIT: 28 x 64, 16 x 570, 4 x 1518' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -s t -l trial -d 'Length of a trial, at least 1ms' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l pdr -d 'Search for the highest rate that loses no more than this share: 0.5%; several with commas' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l exceed -d 'Share of a rate\'s trials, in time, in which more may be lost than a goal allows [default: 50%]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l duration-sum -d 'How long the trials of a rate are together before they decide [default: three trials]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l test -d 'Tests of RFC 2544 to make' -r -f -a "throughput\t'Highest rate without loss (§26.1)'
latency\t'Latency at that rate, which is searched for first (§26.2)'
loss\t'Frame loss from line rate down by 10 %, until two rates lose none (§26.3)'
back-to-back\t'Longest burst without loss, mean of several (§26.4)'"
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l precision -d 'How exactly to search, as a share of line rate' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l runs -d 'Do it this often and print the median and the spread [default: 3 searches, 1 flood, 10 of an MRR]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l batch -d 'Packets a call to send() and recv(), 1 to 64 [default: 32]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l sweep -d 'Measure each value of an option, a row each: batch=1,2,4..64 or queues=1,2,4' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l rxd -d 'Descriptors in each receive ring, a power of two from 64 to 4096 [default: 512]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l txd -d 'Descriptors in each transmit ring, a power of two from 64 to 4096 [default: 512]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l allow-loss -d 'Share of packets that a flood may lose; more ends with exit code 3 [default: any]' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l baseline -d 'Compare with this earlier run, which --json or --export-json wrote' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l tolerance -d 'Share by which a figure may be worse than the baseline\'s' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l export-csv -d 'Write comma-separated values here, beside what is printed' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l export-markdown -d 'Write a Markdown table here, beside what is printed' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l export-json -d 'Write the JSON document here, beside what is printed; it can be a --baseline later' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l html -d 'Write all of it into this HTML file: tables, a plot, the machine, the command line' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l trace -d 'Write each register access, and each command with its answer, to this file' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l loop -d 'Send to ourselves inside the card, where no cable leads back'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l mrr -d 'Flood, and give the mean of ten trials: the Maximum Receive Rate of CSIT'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l ndr -d 'Search for the highest rate that loses nothing (non-drop rate)'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l rfc2544 -d 'All tests of RFC 2544: --test throughput,latency,loss,back-to-back'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l csv -d 'Print comma-separated values instead of a table'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l markdown -d 'Print a Markdown table instead'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l no-sandbox -d 'Keep all rights once cards and files are open, which are given up otherwise'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l restore-on-exit -d 'Take the cards from the kernel for this run alone, and give them back when it ends'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l nic -d 'Emulated card to compare on' -r -f -a "82599\t''
x710\t''
virtio\t''
x2522\t''
bcm57414\t''
bcm57508\t''
mlx5\t''"
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l rounds -d 'Rounds, in each of which all take their turns; 0 counts what crosses PCIe, and no more' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l pci -d 'Compare whole programs on this card, which must be bound to vfio-pci' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -s d -l duration -d 'Time that each program is measured for in a round, of --testpmd and --pci' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l batch -d 'Frames to receive and send in one go, 1 to 64, several with commas' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l html -d 'Write all of it into this HTML file: tables, plots, the machine, the command line' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l here -d 'Be the process that has both drivers in it' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l trace -d 'Of no use here: this command opens no card' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l testpmd -d 'Compare whole programs instead: stock dpdk-testpmd, and bmnic fwd, in turn on the same emulated card with the same traffic'
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l restore-on-exit -d 'Of no use here: this command takes no card from the kernel'
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand check" -l peer -d 'Card at the other end of the cable: packets are sent to it' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand check" -l report -d 'Write all of it to this file, as JSON, without addresses, serial numbers and names' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand check" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_using_subcommand check" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand check" -l trace -d 'Write each register access, and each command with its answer, to this file' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand check" -l cable -d 'The wire leads back to the card (a loopback plug)'
complete -c bmnic -n "__fish_bmnic_using_subcommand check" -l victim -d 'Be the process that is killed while packets flow'
complete -c bmnic -n "__fish_bmnic_using_subcommand check" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand check" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_using_subcommand check" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand check" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand check" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand check" -l restore-on-exit -d 'Take the cards from the kernel for this run alone, and give them back when it ends'
complete -c bmnic -n "__fish_bmnic_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -s c -l count -d 'With --watch: end after so many looks, the first included' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -l interval -d 'With --watch: time between two looks (1s)' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -l trace -d 'Of no use here: this command opens no card' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -s a -l all -d 'Show every PCI function, not network cards alone'
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -l watch -d 'Go on, and show what changes: cards, drivers, interfaces, links'
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -l restore-on-exit -d 'Of no use here: this command takes no card from the kernel'
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -l vfio-user -d 'Serve the card at this socket, for QEMU\'s vfio-user-pci' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -l replay -d 'Ask the card what was asked of the one in this trace, and print where it answers otherwise' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -l trace -d 'Write each register access, and each command with its answer, to this file' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -s l -l list -d 'List the cards, their wires and their options (this is the default)'
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -l restore-on-exit -d 'Of no use here: this command takes no card from the kernel'
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand man" -l trace -d 'Of no use here: this command opens no card' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand man" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_using_subcommand man" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand man" -l roff -d 'Print the page as roff, for a package or another viewer'
complete -c bmnic -n "__fish_bmnic_using_subcommand man" -l restore-on-exit -d 'Of no use here: this command takes no card from the kernel'
complete -c bmnic -n "__fish_bmnic_using_subcommand man" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand man" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_using_subcommand man" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand man" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand man" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand completions" -l trace -d 'Of no use here: this command opens no card' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand completions" -l color -d 'When to colour words' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set or TERM is dumb'
always\t'Also in a pipe'
never\t'Nowhere'"
complete -c bmnic -n "__fish_bmnic_using_subcommand completions" -l link-wait -d 'How long a link may take to come up: 30s, 1m' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand completions" -l restore-on-exit -d 'Of no use here: this command takes no card from the kernel'
complete -c bmnic -n "__fish_bmnic_using_subcommand completions" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand completions" -l json-lines -d 'Print JSON documents of one line each: what changes once an interval, then the result'
complete -c bmnic -n "__fish_bmnic_using_subcommand completions" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand completions" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand completions" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "bind" -d 'Hand a card to bmnic, or give it back to its kernel driver'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "doctor" -d 'See whether this machine is fit for a real card, and how to make it so'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "tune" -d 'Set this machine up for packets, or put it back as it was'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "hugepages" -d 'Show or change the huge pages of this machine'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "fwd" -d 'Forward packets between two ports'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "pktgen" -d 'Generate packets at a given rate'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "capture" -d 'Capture packets into a file, or print them'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "demo" -d 'Show what bmnic does: send, forward, capture, measure, all on emulated cards'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "ctl" -d 'Change a capture that runs, or ask how far it is'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "latency" -d 'Measure latency'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "throughput" -d 'Measure throughput over frame sizes'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "compare-dpdk" -d 'Compare with DPDK on the same card in the same run'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "check" -d 'Check step by step whether a card does what a card does'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "list" -d 'List cards and what can be done with them'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "emulate" -d 'List emulated cards, or serve one to another program'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "man" -d 'Show the page of the manual about bmnic, or about a command'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "completions" -d 'Print the completion script of a shell'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind doctor tune hugepages fwd pktgen capture demo ctl latency throughput compare-dpdk check list emulate man completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'

# Has bmnic say what may stand at the cursor.
function __fish_bmnic_ask
    set -l words (commandline -opc)
    $words[1] completions fish -- $words (commandline -ct) 2>/dev/null | tail -n +2
end
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -f -a '(__fish_bmnic_ask)'
complete -c bmnic -n "__fish_bmnic_using_subcommand doctor" -f -a '(__fish_bmnic_ask)'
complete -c bmnic -n "__fish_bmnic_using_subcommand tune" -f -a '(__fish_bmnic_ask)'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -f -a '(__fish_bmnic_ask)'
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l device -r -f -a '(__fish_bmnic_ask)'
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -s i -r -f -a '(__fish_bmnic_ask)'
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -f -a '(__fish_bmnic_ask)'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l device -r -f -a '(__fish_bmnic_ask)'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s i -r -f -a '(__fish_bmnic_ask)'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -a '(__fish_bmnic_ask)'
complete -c bmnic -n "__fish_bmnic_using_subcommand demo" -f -a '(__fish_bmnic_ask)'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -f -a '(__fish_bmnic_ask)'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -f -a '(__fish_bmnic_ask)'
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l pci -r -f -a '(__fish_bmnic_ask)'
complete -c bmnic -n "__fish_bmnic_using_subcommand check" -l peer -r -f -a '(__fish_bmnic_ask)'
complete -c bmnic -n "__fish_bmnic_using_subcommand check" -f -a '(__fish_bmnic_ask)'
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -f -a '(__fish_bmnic_ask)'

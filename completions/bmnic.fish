# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_bmnic_global_optspecs
    string join \n json q/quiet v/verbose strict h/help V/version
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

complete -c bmnic -n "__fish_bmnic_needs_command" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_needs_command" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_needs_command" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_needs_command" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_needs_command" -s V -l version -d 'Print version'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "bind" -d 'Hand a card to bmnic, or give it back to its kernel driver'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "hugepages" -d 'Show or change the huge pages of this machine'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "fwd" -d 'Forward packets between two ports'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "pktgen" -d 'Generate packets at a given rate'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "capture" -d 'Capture packets into a file'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "latency" -d 'Measure latency'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "throughput" -d 'Measure throughput over frame sizes'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "compare-dpdk" -d 'Compare with DPDK on the same card in the same run'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "list" -d 'List cards and what can be done with them'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "emulate" -d 'List emulated cards'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "completions" -d 'Print the completion script of a shell'
complete -c bmnic -n "__fish_bmnic_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand bind" -s h -l help -d 'Print help'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand hugepages" -s h -l help -d 'Print help'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s m -l mode -d 'What to do to frames on their way' -r -f -a "io\t'Nothing'
mac\t'Set both addresses: from the port, to its peer'
macswap\t'Swap source and destination address'"
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l eth-peer -d 'Destination address for --mode mac: the first is for port A, the second for B' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s w -l wait -d 'How to wait for packets' -r -f -a "poll\t'Look again and again: fastest, takes a core'
irq\t'Sleep until the card interrupts'"
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s I -l interval -d 'Time between two looks at the counters' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l max-frame -d 'Longest frame to forward, in bytes without FCS' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s d -l duration -d 'Stop after this time: 500ms, 2s, 1m; 0 is until Ctrl-C' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s c -l count -d 'Stop after this many packets: 1000, 1M; 0 is no limit' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l rxq -d 'Receive queues; more than one are fed by RSS' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l txq -d 'Transmit queues' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l rxd -d 'Descriptors in each receive ring, a power of two from 64 to 4096' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l txd -d 'Descriptors in each transmit ring, a power of two from 64 to 4096' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l batch -d 'Most packets to take in one go, 1 to 64' -r
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s u -l unidirectional -d 'Forward from A to B only'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand fwd" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand pktgen" -s h -l help -d 'Print help'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand capture" -s h -l help -d 'Print help'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand latency" -s h -l help -d 'Print help'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand throughput" -s h -l help -d 'Print help'
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l testpmd -d 'The dpdk-testpmd to use, if not the first one in PATH' -r -F
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand compare-dpdk" -s h -l help -d 'Print help'
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand list" -s h -l help -d 'Print help'
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand emulate" -s h -l help -d 'Print help'
complete -c bmnic -n "__fish_bmnic_using_subcommand completions" -l json -d 'Print one JSON document instead of text'
complete -c bmnic -n "__fish_bmnic_using_subcommand completions" -s q -l quiet -d 'Print results only'
complete -c bmnic -n "__fish_bmnic_using_subcommand completions" -s v -l verbose -d 'Print more about what is done (repeat for more)'
complete -c bmnic -n "__fish_bmnic_using_subcommand completions" -l strict -d 'Fail if the driver breaks a rule of an emulated card'
complete -c bmnic -n "__fish_bmnic_using_subcommand completions" -s h -l help -d 'Print help'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind hugepages fwd pktgen capture latency throughput compare-dpdk list emulate completions help" -f -a "bind" -d 'Hand a card to bmnic, or give it back to its kernel driver'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind hugepages fwd pktgen capture latency throughput compare-dpdk list emulate completions help" -f -a "hugepages" -d 'Show or change the huge pages of this machine'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind hugepages fwd pktgen capture latency throughput compare-dpdk list emulate completions help" -f -a "fwd" -d 'Forward packets between two ports'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind hugepages fwd pktgen capture latency throughput compare-dpdk list emulate completions help" -f -a "pktgen" -d 'Generate packets at a given rate'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind hugepages fwd pktgen capture latency throughput compare-dpdk list emulate completions help" -f -a "capture" -d 'Capture packets into a file'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind hugepages fwd pktgen capture latency throughput compare-dpdk list emulate completions help" -f -a "latency" -d 'Measure latency'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind hugepages fwd pktgen capture latency throughput compare-dpdk list emulate completions help" -f -a "throughput" -d 'Measure throughput over frame sizes'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind hugepages fwd pktgen capture latency throughput compare-dpdk list emulate completions help" -f -a "compare-dpdk" -d 'Compare with DPDK on the same card in the same run'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind hugepages fwd pktgen capture latency throughput compare-dpdk list emulate completions help" -f -a "list" -d 'List cards and what can be done with them'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind hugepages fwd pktgen capture latency throughput compare-dpdk list emulate completions help" -f -a "emulate" -d 'List emulated cards'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind hugepages fwd pktgen capture latency throughput compare-dpdk list emulate completions help" -f -a "completions" -d 'Print the completion script of a shell'
complete -c bmnic -n "__fish_bmnic_using_subcommand help; and not __fish_seen_subcommand_from bind hugepages fwd pktgen capture latency throughput compare-dpdk list emulate completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'

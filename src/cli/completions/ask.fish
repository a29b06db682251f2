# Has bmnic say what may stand at the cursor.
function __fish_bmnic_ask
    set -l words (commandline -opc)
    $words[1] completions fish -- $words (commandline -ct) 2>/dev/null | tail -n +2
end

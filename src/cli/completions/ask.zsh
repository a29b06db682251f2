# Has bmnic say what may stand at the cursor, where that is a value; fails elsewhere.
_bmnic_ask() {
    local -a answer found shown open_found open_shown
    local line word
    answer=("${(@f)$(${words[1]} completions zsh -- "${(@)words[1,CURRENT]}" 2>/dev/null)}")
    [[ -n $answer[1] ]] || return 1
    for line in "${(@)answer[2,-1]}"; do
        word=${line%%$'\t'*}
        # What goes on behind = and : has no space behind it.
        if [[ $word == *[=:] ]]; then
            open_found+=("$word")
            open_shown+=("${word}  ${line#*$'\t'}")
        else
            found+=("$word")
            shown+=("${word}  ${line#*$'\t'}")
        fi
    done
    (( $#found )) && compadd -l -d shown -a found
    (( $#open_found )) && compadd -S '' -l -d open_shown -a open_found
    [[ $answer[1] == files ]] && _files
    return 0
}

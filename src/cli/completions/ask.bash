# Has bmnic say what may stand at the cursor, where that is a value; fails elsewhere. $1 is
# the part of the word behind its last : or =, which is what bash replaces.
_bmnic_ask() {
    local line=${COMP_LINE:0:COMP_POINT} words word answer kind
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word=${words[${#words[@]}-1]}
    mapfile -t answer < <("${words[0]}" completions bash -- "${words[@]}" 2>/dev/null)
    kind=${answer[0]-}
    [[ -n $kind ]] || return 1
    COMPREPLY=("${answer[@]:1}")
    COMPREPLY=("${COMPREPLY[@]#"${word%"$1"}"}")
    if [[ $kind == files ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$1")
    fi
    if [[ ${#COMPREPLY[@]} -eq 0 ]]; then
        # An empty answer would have bash offer files.
        compopt +o default +o bashdefault 2>/dev/null
    elif [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=:] ]]; then
        compopt -o nospace 2>/dev/null
    fi
    return 0
}

# Completes the command line of wharf. The program itself knows the words.
_wharf() {
    local kind word
    COMPREPLY=()
    {
        read -r kind
        case $kind in
            files) compopt -o default ;;
            directories) compopt -o dirnames ;;
            commands) while read -r word; do COMPREPLY+=("$word"); done < <(compgen -c -- "$2") ;;
            *) while IFS=$'\t' read -r word _; do COMPREPLY+=("$word"); done ;;
        esac
    } < <("$1" completion words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _wharf wharf

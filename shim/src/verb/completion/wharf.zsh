#compdef wharf
# Completes the command line of wharf. The program itself knows the words.
_wharf() {
    local -a answer
    answer=("${(@f)$("$words[1]" completion words "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    case $answer[1] in
        (files) _files ;;
        (directories) _files -/ ;;
        (commands) _command_names -e ;;
        (*)
            shift answer
            answer=("${(@)answer//:/\\:}")
            answer=("${(@)answer/$'\t'/:}")
            _describe -V wharf answer
            ;;
    esac
}
if [[ $funcstack[1] = _wharf ]]; then _wharf "$@"; else compdef _wharf wharf; fi

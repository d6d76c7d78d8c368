# Completes the command line of wharf. The program itself knows the words.
function __wharf_complete
    set -l before (commandline -opc)
    set -l word (commandline -ct)
    set -l answer ($before[1] completion words $before[2..-1] "$word" 2>/dev/null)
    switch "$answer[1]"
        case files
            __fish_complete_path "$word"
        case directories
            __fish_complete_directories "$word"
        case commands
            __fish_complete_command
        case words
            printf '%s\n' $answer[2..-1]
    end
end
complete -c wharf -f -a '(__wharf_complete)'

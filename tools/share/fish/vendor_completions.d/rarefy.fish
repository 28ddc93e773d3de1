# Completion of rarefy for fish. Written by `make pages` from the parsers of the command line: do not edit.

# Tells whether the words before the cursor have reached a command, such as "rarefy bench images".
function __rarefy_at
    set -l command rarefy
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if contains -- "$command $word" 'rarefy encode' 'rarefy decode' 'rarefy transcode' 'rarefy info' 'rarefy verify' 'rarefy codecs' 'rarefy train' 'rarefy weights' 'rarefy weights export' 'rarefy weights verify' 'rarefy bench' 'rarefy bench images' 'rarefy bench speed' 'rarefy bench exactness' 'rarefy bench large'
            set command "$command $word"
        end
    end
    test "$command" = "$argv"
end

# Offers folders, and files whose names end as asked for.
function __rarefy_files
    set -l endings (string join '|' $argv)
    complete -C "__rarefy_no_such_command "(commandline -ct) | string match -r -i -- "^.*(?:/|\.(?:$endings))\$"
end

complete -c rarefy -f

complete -c rarefy -n '__rarefy_at rarefy' -a encode -d 'turn pictures into small files'
complete -c rarefy -n '__rarefy_at rarefy' -a decode -d 'turn them back'
complete -c rarefy -n '__rarefy_at rarefy' -a transcode -d 'bring files to another codec, quality or generation of weights'
complete -c rarefy -n '__rarefy_at rarefy' -a info -d 'tell what a file is'
complete -c rarefy -n '__rarefy_at rarefy' -a verify -d 'check files'
complete -c rarefy -n '__rarefy_at rarefy' -a codecs -d 'list the codecs'
complete -c rarefy -n '__rarefy_at rarefy' -a train -d 'train a codec from a recipe'
complete -c rarefy -n '__rarefy_at rarefy' -a weights -d 'export, check and describe weights'
complete -c rarefy -n '__rarefy_at rarefy' -a bench -d 'measure rate, fidelity and speed against other codecs'
complete -c rarefy -n '__rarefy_at rarefy' -s h -l help -d 'show this help message and exit'
complete -c rarefy -n '__rarefy_at rarefy' -l version -d 'show program\'s version number and exit'
complete -c rarefy -n '__rarefy_at rarefy encode' -f -a '(__rarefy_files avif bmp gif heic heif ico jfif jpeg jpg jxl pbm pgm png pnm ppm tif tiff webp)'
complete -c rarefy -n '__rarefy_at rarefy encode' -s h -l help -d 'show this help message and exit'
complete -c rarefy -n '__rarefy_at rarefy encode' -s o -r -F -d 'output file, folder, or - (default: next to the input)'
complete -c rarefy -n '__rarefy_at rarefy encode' -s f -d 'overwrite files that exist'
complete -c rarefy -n '__rarefy_at rarefy encode' -l skip-existing -d 'leave out what has a whole output already, to go on with a batch'
complete -c rarefy -n '__rarefy_at rarefy encode' -s r -d 'take the files in folders; -o mirrors their tree'
complete -c rarefy -n '__rarefy_at rarefy encode' -l codec -r -f -a 'image' -d 'which codec (default: image; see rarefy codecs)'
complete -c rarefy -n '__rarefy_at rarefy encode' -l quality -x -d '0 (smallest) to 100 (best), default 50'
complete -c rarefy -n '__rarefy_at rarefy encode' -l target-size -x -d 'the best quality in at most this size: 50k, 1.5M, bytes'
complete -c rarefy -n '__rarefy_at rarefy encode' -l target-bpp -x -d 'the best quality in at most these bits per pixel'
complete -c rarefy -n '__rarefy_at rarefy encode' -l target-psnr -x -d 'the smallest file with at least this PSNR, in dB'
complete -c rarefy -n '__rarefy_at rarefy encode' -l strip -d 'leave out EXIF and XMP (place, camera, dates); the colour profile stays'
complete -c rarefy -n '__rarefy_at rarefy encode' -l verify -d 'decode and compare before a file counts as done'
complete -c rarefy -n '__rarefy_at rarefy encode' -l threads -x -d 'CPU threads (default: all cores)'
complete -c rarefy -n '__rarefy_at rarefy encode' -l device -r -f -a 'cpu cuda' -d 'cpu (default) or cuda'
complete -c rarefy -n '__rarefy_at rarefy encode' -l json -d 'one JSON object per line on stdout'
complete -c rarefy -n '__rarefy_at rarefy encode' -s q -d 'say nothing but errors'
complete -c rarefy -n '__rarefy_at rarefy encode' -s v -d 'say more, with tracebacks of errors'
complete -c rarefy -n '__rarefy_at rarefy decode' -f -a '(__rarefy_files rfy)'
complete -c rarefy -n '__rarefy_at rarefy decode' -s h -l help -d 'show this help message and exit'
complete -c rarefy -n '__rarefy_at rarefy decode' -s o -r -F -d 'output file, folder, or - (default: next to the input)'
complete -c rarefy -n '__rarefy_at rarefy decode' -s f -d 'overwrite files that exist'
complete -c rarefy -n '__rarefy_at rarefy decode' -l skip-existing -d 'leave out what has a whole output already, to go on with a batch'
complete -c rarefy -n '__rarefy_at rarefy decode' -s r -d 'take the files in folders; -o mirrors their tree'
complete -c rarefy -n '__rarefy_at rarefy decode' -l region -x -d 'this part alone, in pixels'
complete -c rarefy -n '__rarefy_at rarefy decode' -l preview -r -f -a '2 4 8' -d 'the picture at 1/N of its size: 2, 4 or 8'
complete -c rarefy -n '__rarefy_at rarefy decode' -l allow-damaged -d 'save what can be saved of damaged files, and say what is missing'
complete -c rarefy -n '__rarefy_at rarefy decode' -l threads -x -d 'CPU threads (default: all cores)'
complete -c rarefy -n '__rarefy_at rarefy decode' -l device -r -f -a 'cpu cuda' -d 'cpu (default) or cuda'
complete -c rarefy -n '__rarefy_at rarefy decode' -l json -d 'one JSON object per line on stdout'
complete -c rarefy -n '__rarefy_at rarefy decode' -s q -d 'say nothing but errors'
complete -c rarefy -n '__rarefy_at rarefy decode' -s v -d 'say more, with tracebacks of errors'
complete -c rarefy -n '__rarefy_at rarefy transcode' -f -a '(__rarefy_files rfy)'
complete -c rarefy -n '__rarefy_at rarefy transcode' -s h -l help -d 'show this help message and exit'
complete -c rarefy -n '__rarefy_at rarefy transcode' -s o -r -F -d 'output file, folder, or - (without it, -f replaces the inputs)'
complete -c rarefy -n '__rarefy_at rarefy transcode' -s f -d 'overwrite files that exist'
complete -c rarefy -n '__rarefy_at rarefy transcode' -l skip-existing -d 'leave out what has a whole output already, to go on with a batch'
complete -c rarefy -n '__rarefy_at rarefy transcode' -s r -d 'take the files in folders; -o mirrors their tree'
complete -c rarefy -n '__rarefy_at rarefy transcode' -l codec -r -f -a 'image' -d 'which codec (default: image; see rarefy codecs)'
complete -c rarefy -n '__rarefy_at rarefy transcode' -l quality -x -d '0 (smallest) to 100 (best), default: that of the file'
complete -c rarefy -n '__rarefy_at rarefy transcode' -l target-size -x -d 'the best quality in at most this size: 50k, 1.5M, bytes'
complete -c rarefy -n '__rarefy_at rarefy transcode' -l target-bpp -x -d 'the best quality in at most these bits per pixel'
complete -c rarefy -n '__rarefy_at rarefy transcode' -l target-psnr -x -d 'the smallest file with at least this PSNR, in dB'
complete -c rarefy -n '__rarefy_at rarefy transcode' -l always -d 'encode again what has this codec, these weights and this quality already'
complete -c rarefy -n '__rarefy_at rarefy transcode' -l verify -d 'decode and compare before a file counts as done'
complete -c rarefy -n '__rarefy_at rarefy transcode' -l threads -x -d 'CPU threads (default: all cores)'
complete -c rarefy -n '__rarefy_at rarefy transcode' -l device -r -f -a 'cpu cuda' -d 'cpu (default) or cuda'
complete -c rarefy -n '__rarefy_at rarefy transcode' -l json -d 'one JSON object per line on stdout'
complete -c rarefy -n '__rarefy_at rarefy transcode' -s q -d 'say nothing but errors'
complete -c rarefy -n '__rarefy_at rarefy transcode' -s v -d 'say more, with tracebacks of errors'
complete -c rarefy -n '__rarefy_at rarefy info' -f -a '(__rarefy_files rfy)'
complete -c rarefy -n '__rarefy_at rarefy info' -s h -l help -d 'show this help message and exit'
complete -c rarefy -n '__rarefy_at rarefy info' -l json -d 'one JSON object per line on stdout'
complete -c rarefy -n '__rarefy_at rarefy info' -s q -d 'say nothing but errors'
complete -c rarefy -n '__rarefy_at rarefy info' -s v -d 'say more, with tracebacks of errors'
complete -c rarefy -n '__rarefy_at rarefy verify' -f -a '(__rarefy_files rfy)'
complete -c rarefy -n '__rarefy_at rarefy verify' -s h -l help -d 'show this help message and exit'
complete -c rarefy -n '__rarefy_at rarefy verify' -l threads -x -d 'CPU threads (default: all cores)'
complete -c rarefy -n '__rarefy_at rarefy verify' -l json -d 'one JSON object per line on stdout'
complete -c rarefy -n '__rarefy_at rarefy verify' -s q -d 'say nothing but errors'
complete -c rarefy -n '__rarefy_at rarefy verify' -s v -d 'say more, with tracebacks of errors'
complete -c rarefy -n '__rarefy_at rarefy codecs' -s h -l help -d 'show this help message and exit'
complete -c rarefy -n '__rarefy_at rarefy codecs' -l json -d 'one JSON object per line on stdout'
complete -c rarefy -n '__rarefy_at rarefy codecs' -s q -d 'say nothing but errors'
complete -c rarefy -n '__rarefy_at rarefy codecs' -s v -d 'say more, with tracebacks of errors'
complete -c rarefy -n '__rarefy_at rarefy train' -f -a '(__rarefy_files toml)'
complete -c rarefy -n '__rarefy_at rarefy train' -s h -l help -d 'show this help message and exit'
complete -c rarefy -n '__rarefy_at rarefy train' -l data -r -f -a '(__fish_complete_directories)' -d 'folders of pictures'
complete -c rarefy -n '__rarefy_at rarefy train' -l out -r -f -a '(__fish_complete_directories)' -d 'folder for state, log and curve'
complete -c rarefy -n '__rarefy_at rarefy train' -l set -x -d 'override, such as "train.minutes=30"'
complete -c rarefy -n '__rarefy_at rarefy train' -l start -r -f -a '(__rarefy_files safetensors)' -d 'safetensors to start from instead of principal components'
complete -c rarefy -n '__rarefy_at rarefy train' -l device -r -f -a 'cpu cuda'
complete -c rarefy -n '__rarefy_at rarefy train' -l threads -x -d 'CPU threads'
complete -c rarefy -n '__rarefy_at rarefy train' -l workers -x -d 'processes that read the pictures at the start'
complete -c rarefy -n '__rarefy_at rarefy train' -l compile -d 'torch.compile the loss'
complete -c rarefy -n '__rarefy_at rarefy train' -l piece-megabytes -x -d 'largest file of final weights'
complete -c rarefy -n '__rarefy_at rarefy train' -l log-seconds -x
complete -c rarefy -n '__rarefy_at rarefy train' -l save-seconds -x
complete -c rarefy -n '__rarefy_at rarefy weights' -a export -d 'make a weights file from a training run'
complete -c rarefy -n '__rarefy_at rarefy weights' -a verify -d 'prove that a weights file is whole and exact'
complete -c rarefy -n '__rarefy_at rarefy weights' -s h -l help -d 'show this help message and exit'
complete -c rarefy -n '__rarefy_at rarefy weights export' -f -a '(__fish_complete_directories)'
complete -c rarefy -n '__rarefy_at rarefy weights export' -s h -l help -d 'show this help message and exit'
complete -c rarefy -n '__rarefy_at rarefy weights export' -s o -l output -r -F -d 'the safetensors file to write'
complete -c rarefy -n '__rarefy_at rarefy weights export' -l data -r -f -a '(__fish_complete_directories)' -d 'folders of the training pictures, to calibrate on'
complete -c rarefy -n '__rarefy_at rarefy weights export' -l pictures -x -d 'how many of them'
complete -c rarefy -n '__rarefy_at rarefy weights export' -l held-back-one-in -x
complete -c rarefy -n '__rarefy_at rarefy weights verify' -f -a '(__rarefy_files safetensors)'
complete -c rarefy -n '__rarefy_at rarefy weights verify' -s h -l help -d 'show this help message and exit'
complete -c rarefy -n '__rarefy_at rarefy bench' -a images -d 'rate and fidelity over a folder of pictures'
complete -c rarefy -n '__rarefy_at rarefy bench' -a speed -d 'time one picture, from array to bytes and back'
complete -c rarefy -n '__rarefy_at rarefy bench' -a exactness -d 'every encoder\'s files in every decoder (takes minutes)'
complete -c rarefy -n '__rarefy_at rarefy bench' -a large -d 'large pictures: time, memory, regions, the price of units'
complete -c rarefy -n '__rarefy_at rarefy bench' -s h -l help -d 'show this help message and exit'
complete -c rarefy -n '__rarefy_at rarefy bench images' -f -a '(__fish_complete_directories)'
complete -c rarefy -n '__rarefy_at rarefy bench images' -s h -l help -d 'show this help message and exit'
complete -c rarefy -n '__rarefy_at rarefy bench images' -l codecs -x
complete -c rarefy -n '__rarefy_at rarefy bench images' -l anchors -x
complete -c rarefy -n '__rarefy_at rarefy bench images' -l plot -r -F -d 'draw the curves (.svg, .png, .pdf)'
complete -c rarefy -n '__rarefy_at rarefy bench images' -l threads -x -d 'CPU threads (default 2)'
complete -c rarefy -n '__rarefy_at rarefy bench images' -l device -r -f -a 'cpu cuda' -d 'cpu (default) or cuda'
complete -c rarefy -n '__rarefy_at rarefy bench images' -l json -r -F -d 'write the result as JSON, - for standard output'
complete -c rarefy -n '__rarefy_at rarefy bench speed' -s h -l help -d 'show this help message and exit'
complete -c rarefy -n '__rarefy_at rarefy bench speed' -l size -x -d 'size of the picture (default 768x512)'
complete -c rarefy -n '__rarefy_at rarefy bench speed' -l codec -x
complete -c rarefy -n '__rarefy_at rarefy bench speed' -l runs -x -d 'warm runs, of which the median counts'
complete -c rarefy -n '__rarefy_at rarefy bench speed' -l threads -x -d 'CPU threads (default 2)'
complete -c rarefy -n '__rarefy_at rarefy bench speed' -l device -r -f -a 'cpu cuda' -d 'cpu (default) or cuda'
complete -c rarefy -n '__rarefy_at rarefy bench speed' -l json -r -F -d 'write the result as JSON, - for standard output'
complete -c rarefy -n '__rarefy_at rarefy bench exactness' -s h -l help -d 'show this help message and exit'
complete -c rarefy -n '__rarefy_at rarefy bench exactness' -l json -r -F -d 'write the result as JSON, - for standard output'
complete -c rarefy -n '__rarefy_at rarefy bench large' -F
complete -c rarefy -n '__rarefy_at rarefy bench large' -s h -l help -d 'show this help message and exit'
complete -c rarefy -n '__rarefy_at rarefy bench large' -l sizes -x
complete -c rarefy -n '__rarefy_at rarefy bench large' -l threads -x -d 'CPU threads (default 2)'
complete -c rarefy -n '__rarefy_at rarefy bench large' -l json -r -F -d 'write the result as JSON, - for standard output'

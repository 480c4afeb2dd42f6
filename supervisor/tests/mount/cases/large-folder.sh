# Is a folder of many names listed whole?
[ "$(ls "$LIVE/many" | sort -u | wc -l)" = 500 ] && echo whole || echo "$(ls "$LIVE/many" | wc -l)"

# Whether the balancer on this machine works.
exec 3<>/dev/tcp/10.30.0.22/9192 || exit 1
printf 'GET / HTTP/1.0\r\n\r\n' >&3
read -r -t 1 _ status _ <&3
[ "$status" = 200 ]

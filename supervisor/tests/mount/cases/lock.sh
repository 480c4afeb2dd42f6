# Does a lock of flock keep others out?
echo >"$FILES/lock"
exec 3<>"$FILES/lock"
flock -n 3 || { echo refused; exit; }
(exec 4<>"$FILES/lock"; flock -n 4) && echo local-to-nobody || echo excludes

;; Files of the private namespace: what each call gives, with a host that serves some.
;;
;; A command's letter names a call, or some that are refused at once (then, errno 1000 + n
;; for the n-th that gives something else). `out` shows what came to `future`: its status,
;; and its body as a text whose lines end with |, as its length and a number, or as its
;; length and what a stat says.
;;
;;! atoms a
;;! host f hello
;;! host d/g deep
;;! write a/do a
;;! read a/out f 0 ell
;;! write a/do b
;;! read a/out f 0
;;! write a/do c
;;! read a/out f 0
;;! write a/do d
;;! read a/out f 0 hello you
;;! write a/do e
;;! read a/out f 0
;;! write a/do d
;;! read a/out f 0 new
;;! write a/do f
;;! read a/out f 0 f|d/|
;;! write a/do g
;;! read a/out f 0 33 8 0 3
;;! write a/do h
;;! read a/out f 0 33 4 128
;;! write a/do i
;;! read a/out f -2
;;! write a/do j
;;! read a/out f 0 4 0
;;! write a/do k
;;! read a/out f 0 ew
;;! write a/do l
;;! read a/out f 0
;;! write a/do m
;;! read a/out f 0 4 4
;;! write a/do n
;;! read a/out f 0 33 8 0 7
;;! write a/do o
;;! write a/do p
;;! read a/out f 0 4 0
;;! write a/do q
;;! write a/do r
;;! read a/out f 0 4 1
;;! write a/do s
;;! read a/out f 0 deep
;;! write a/do t
;;! read a/out f -2
;;! write a/do u
;;! read a/out f 0 4 2
;;! write a/do v
;;! read a/out f -17
;;! write a/do w
;;! read a/out f 0 4 3
;;! write a/do g
;;! read a/out f 0 33 8 0 0
;;! write a/do f
;;! read a/out f 0 f|d/|made|
;;! write a/do x
;;! read a/out f -9
;;! write a/do y
;;! pass 1
;;! read a/out
;;! write a/do z

(module
  (import "atoll" "recv" (func $recv (param i32 i32 i32) (result i32)))
  (import "atoll" "answer" (func $answer (param i32 i32) (result i32)))
  (import "atoll" "drop_future" (func $drop_future (param i64) (result i32)))
  (import "atoll" "file_read" (func $file_read (param i32 i32 i64 i32) (result i64)))
  (import "atoll" "file_write" (func $file_write (param i32 i32 i64 i32 i32) (result i64)))
  (import "atoll" "file_list" (func $file_list (param i32 i32) (result i64)))
  (import "atoll" "file_stat" (func $file_stat (param i32 i32) (result i64)))
  (import "atoll" "open" (func $open (param i32 i32 i32) (result i64)))
  (import "atoll" "walk" (func $walk (param i32 i32 i32 i32) (result i64)))
  (import "atoll" "read" (func $read (param i32 i64 i32) (result i64)))
  (import "atoll" "write" (func $write (param i32 i64 i32 i32) (result i64)))
  (import "atoll" "stat" (func $stat (param i32) (result i64)))
  (import "atoll" "close" (func $close (param i32) (result i32)))
  (import "atoll" "sync" (func $sync (result i64)))
  (@custom "atoll.files" "ctl do\ntext out\n")
  (memory (export "memory") 2)
  (data (i32.const 1024) "/data/f")
  (data (i32.const 1040) " you")
  (data (i32.const 1056) "new")
  (data (i32.const 1072) "/data")
  (data (i32.const 1088) "/data/no")
  (data (i32.const 1104) "d")
  (data (i32.const 1120) "../f")
  (data (i32.const 1136) "d/..")
  (data (i32.const 1152) "d/g")
  (data (i32.const 1168) "/data/made")
  (global $n (export "__atoll_g0") (mut i32) (i32.const 0))
  (global $bad (export "__atoll_g1") (mut i32) (i32.const 0))
  ;; The last future, and how its body is shown: 0 a text, 1 a number, 2 a stat.
  (global $last (export "__atoll_g2") (mut i64) (i64.const 0))
  (global $how (export "__atoll_g3") (mut i32) (i32.const 0))
  ;; What `out` shows, at 512, and how long it is.
  (global $shown (export "__atoll_g4") (mut i32) (i32.const 0))
  (type $test (func))
  (table 26 funcref)
  (elem (i32.const 0) $a $b $c $d $e $f $g $h $i $j $k $l $m $n $o $p $q $r $s $t $u $v $w $x $y $z)

  (func $is (param $got i32) (param $want i32)
    (global.set $n (i32.add (global.get $n) (i32.const 1)))
    (if (i32.and (i32.ne (local.get $got) (local.get $want)) (i32.eqz (global.get $bad)))
      (then (global.set $bad (global.get $n)))))
  (func $is64 (param $got i64) (param $want i64)
    (call $is (i64.eq (local.get $got) (local.get $want)) (i32.const 1)))
  ;; A future that is waited for.
  (func $future (param $id i64)
    (global.set $last (local.get $id))
    (call $is (i64.gt_s (local.get $id) (i64.const 0)) (i32.const 1)))
  (func $show (param $byte i32)
    (i32.store8 (i32.add (i32.const 512) (global.get $shown)) (local.get $byte))
    (global.set $shown (i32.add (global.get $shown) (i32.const 1))))
  (func $digits (param $n i32)
    (if (i32.ge_u (local.get $n) (i32.const 10)) (then
      (call $digits (i32.div_u (local.get $n) (i32.const 10)))))
    (call $show (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10)))))
  ;; A space and a number.
  (func $number (param $n i32)
    (call $show (i32.const 32))
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then
      (call $show (i32.const 45))
      (local.set $n (i32.sub (i32.const 0) (local.get $n)))))
    (call $digits (local.get $n)))
  (func $text (param $len i32)
    (local $at i32)
    (call $show (i32.const 32))
    (loop $next
      (if (i32.eq (i32.load8_u (i32.add (i32.const 65536) (local.get $at))) (i32.const 10))
        (then (call $show (i32.const 124)))
        (else (call $show (i32.load8_u (i32.add (i32.const 65536) (local.get $at))))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $len)))))
  ;; The mode's type, the qid's, and the length of a file.
  (func $about
    (call $number (i32.shr_u (i32.load (i32.const 65552)) (i32.const 12)))
    (call $number (i32.load8_u (i32.const 65556)))
    (if (i32.eqz (i32.load8_u (i32.const 65556))) (then
      (call $number (i32.load (i32.const 65536))))))

  (func (export "atoll_abi") (result i32) (i32.const 1))
  (func (export "invoke") (param $kind i32) (param $id i64) (param $len i32) (result i32)
    ;; READ.
    (if (i32.eq (local.get $kind) (i32.const 4)) (then
      (drop (call $answer (i32.const 512) (global.get $shown)))
      (global.set $shown (i32.const 0))
      (return (i32.const 0))))
    ;; COMMAND.
    (if (i32.ne (local.get $kind) (i32.const 5)) (then (return (i32.const 0))))
    (global.set $n (i32.const 0))
    (global.set $bad (i32.const 0))
    (drop (call $recv (i32.const 0) (i32.const 1) (i32.const 0)))
    (call_indirect (type $test) (i32.sub (i32.load8_u (i32.const 0)) (i32.const 97)))
    (if (global.get $bad) (then
      (return (i32.sub (i32.const -1000) (global.get $bad)))))
    (i32.const 0))
  (func (export "future") (param $id i64) (param $status i32) (param $len i32) (result i32)
    (if (i64.ne (local.get $id) (global.get $last)) (then (return (i32.const 0))))
    (global.set $shown (i32.const 0))
    (call $show (i32.const 102))
    (call $number (local.get $status))
    (if (i32.or (local.get $status) (i32.eqz (local.get $len))) (then (return (i32.const 0))))
    (drop (call $recv (i32.const 65536) (i32.const 65536) (i32.const 0)))
    (if (i32.eqz (global.get $how)) (then
      (call $text (local.get $len))
      (return (i32.const 0))))
    (call $number (local.get $len))
    (if (i32.eq (global.get $how) (i32.const 1))
      (then (call $number (i32.load (i32.const 65536))))
      (else (call $about)))
    (i32.const 0))

  ;; Whole files, by path: a part of one.
  (func $a
    (global.set $how (i32.const 0))
    (call $future (call $file_read (i32.const 1024) (i32.const 7) (i64.const 1) (i32.const 3))))
  ;; Behind its end.
  (func $b
    (global.set $how (i32.const 0))
    (call $future (call $file_read (i32.const 1024) (i32.const 7) (i64.const 9) (i32.const 3))))
  ;; At its end.
  (func $c
    (global.set $how (i32.const 0))
    (call $future (call $file_write (i32.const 1024) (i32.const 7) (i64.const 5) (i32.const 1040) (i32.const 4))))
  ;; As it is now.
  (func $d
    (global.set $how (i32.const 0))
    (call $future (call $file_read (i32.const 1024) (i32.const 7) (i64.const 0) (i32.const 65536))))
  ;; In its place.
  (func $e
    (global.set $how (i32.const 0))
    (call $future (call $file_write (i32.const 1024) (i32.const 7) (i64.const -1) (i32.const 1056) (i32.const 3))))
  ;; Names, a directory's with a slash.
  (func $f
    (global.set $how (i32.const 0))
    (call $future (call $file_list (i32.const 1072) (i32.const 5))))
  ;; A stat of 33 bytes: type, qid's type, length.
  (func $g
    (global.set $how (i32.const 2))
    (call $future (call $file_stat (i32.const 1024) (i32.const 7))))
  ;; That of a directory.
  (func $h
    (global.set $how (i32.const 2))
    (call $future (call $file_stat (i32.const 1072) (i32.const 5))))
  ;; What is not there, and what is not mounted.
  (func $i
    (global.set $how (i32.const 0))
    (call $future (call $file_read (i32.const 1088) (i32.const 8) (i64.const 0) (i32.const 1))))
  ;; An open file has a number.
  (func $j
    (global.set $how (i32.const 1))
    (call $future (call $open (i32.const 1024) (i32.const 7) (i32.const 2))))
  ;; Is read.
  (func $k
    (global.set $how (i32.const 0))
    (call $future (call $read (i32.const 0) (i64.const 1) (i32.const 2))))
  ;; At its end there is nothing.
  (func $l
    (global.set $how (i32.const 0))
    (call $future (call $read (i32.const 0) (i64.const 3) (i32.const 2))))
  ;; Is written: how much was taken.
  (func $m
    (global.set $how (i32.const 1))
    (call $future (call $write (i32.const 0) (i64.const 3) (i32.const 1040) (i32.const 4))))
  ;; Has a stat.
  (func $n
    (global.set $how (i32.const 2))
    (call $future (call $stat (i32.const 0))))
  ;; Is closed once.
  (func $o
    (call $is (call $close (i32.const 0)) (i32.const 0))
    (call $is (call $close (i32.const 0)) (i32.const -9))
    (call $is64 (call $read (i32.const 0) (i64.const 0) (i32.const 1)) (i64.const -9))
    (call $is64 (call $write (i32.const 0) (i64.const 0) (i32.const 1024) (i32.const 7)) (i64.const -9))
    (call $is64 (call $stat (i32.const 0)) (i64.const -9))
    (call $is64 (call $walk (i32.const 0) (i32.const 1104) (i32.const 1) (i32.const 0)) (i64.const -9)))
  ;; A directory that is only walked from.
  (func $p
    (global.set $how (i32.const 1))
    (call $future (call $open (i32.const 1072) (i32.const 5) (i32.const 2097152))))
  ;; What does not begin there.
  (func $q
    (call $is64 (call $walk (i32.const 0) (i32.const 1120) (i32.const 4) (i32.const 0)) (i64.const -22))
    (call $is64 (call $walk (i32.const 0) (i32.const 1024) (i32.const 7) (i32.const 0)) (i64.const -22))
    (call $is64 (call $walk (i32.const 0) (i32.const 1136) (i32.const 4) (i32.const 0)) (i64.const -22)))
  ;; What does.
  (func $r
    (global.set $how (i32.const 1))
    (call $future (call $walk (i32.const 0) (i32.const 1152) (i32.const 3) (i32.const 0))))
  ;; Its text.
  (func $s
    (global.set $how (i32.const 0))
    (call $future (call $read (i32.const 1) (i64.const 0) (i32.const 9))))
  ;; One that is not there.
  (func $t
    (global.set $how (i32.const 0))
    (call $future (call $open (i32.const 1088) (i32.const 8) (i32.const 0))))
  ;; One that is made.
  (func $u
    (global.set $how (i32.const 1))
    (call $future (call $open (i32.const 1168) (i32.const 10) (i32.const 65))))
  ;; One that must not be there.
  (func $v
    (global.set $how (i32.const 0))
    (call $future (call $open (i32.const 1024) (i32.const 7) (i32.const 193))))
  ;; One that is emptied.
  (func $w
    (global.set $how (i32.const 1))
    (call $future (call $open (i32.const 1024) (i32.const 7) (i32.const 514))))
  ;; What is under way with a file that is closed fails.
  (func $x
    (global.set $how (i32.const 0))
    (call $future (call $read (i32.const 1) (i64.const 0) (i32.const 9)))
    (call $is (call $close (i32.const 1)) (i32.const 0)))
  ;; What is dropped does not return.
  (func $y
    (global.set $how (i32.const 0))
    (call $future (call $file_read (i32.const 1024) (i32.const 7) (i64.const 0) (i32.const 9)))
    (call $is (call $drop_future (global.get $last)) (i32.const 0)))
  ;; Nothing is kept on the host.
  (func $z
    (call $is64 (call $sync) (i64.const -95)))
)

;; Everything that an atom can do wrong, in each place where its code is called.
;;
;; A command `dX` does X at once, `iX` in a handler of an interrupt, `fX` in that of a
;; future, `sX` in one of a message; X is a letter of the list in $wrong. `n` counts, and
;; `count` shows it: a digit, from 0 in each new instance.
(module
  (import "atoll" "recv" (func $recv (param i32 i32 i32) (result i32)))
  (import "atoll" "answer" (func $answer (param i32 i32) (result i32)))
  (import "atoll" "me" (func $me (result i32)))
  (import "atoll" "signal" (func $signal (param i32 i32 i64) (result i32)))
  (import "atoll" "sleep" (func $sleep (param i64) (result i64)))
  (import "atoll" "send" (func $send (param i32 i32 i32) (result i32)))
  (@custom "atoll.files" "ctl do\ntext count\n")
  (memory (export "memory") 1)
  (data (i32.const 1024) "what the memory begins with")
  (global $count (mut i32) (i32.const 0))
  (global $then (mut i32) (i32.const 0))
  (type $unary (func (param i32) (result i32)))
  (type $none (func))
  (table 4 funcref)
  (elem (i32.const 0) $deep)
  (func (export "atoll_abi") (result i32) (i32.const 1))
  (func $deep (param i32) (result i32)
    (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (local.get 0)))
  ;; Also the host is called where the stack is nearly used up.
  (func $deeper (param i32) (result i32)
    (drop (call $recv (i32.const 16) (i32.const 1) (i32.const 0)))
    (i32.add (call $deeper (i32.add (local.get 0) (i32.const 1))) (local.get 0)))
  (func $wrong (param $what i32)
    (local $i i32)
    (block $u (block $t (block $s (block $r (block $q (block $p (block $o (block $n (block $m
    (block $l (block $k (block $j (block $i_ (block $h (block $g (block $f (block $e (block $d
    (block $c (block $b (block $a
      (br_table $a $b $c $d $e $f $g $h $i_ $j $k $l $m $n $o $p $q $r $s $t $u
        (i32.sub (local.get $what) (i32.const 97))))
      unreachable) ;; a
      (drop (i32.div_s (i32.const 1) (i32.load (i32.const 60000)))) return) ;; b
      (drop (i64.rem_u (i64.const 1) (i64.load (i32.const 60000)))) return) ;; c
      ;; d: the one quotient that there is not.
      (drop (i32.div_s (i32.const 0x80000000) (i32.sub (i32.load (i32.const 60000)) (i32.const 1))))
      return)
      (drop (i32.trunc_f64_s (f64.div (f64.load (i32.const 60000)) (f64.load (i32.const 60000)))))
      return) ;; e
      (drop (i32.trunc_f32_u (f32.const 1e20))) return) ;; f
      ;; g to m: memory that is not there, at the end, in the guard, far away, and across
      ;; the border.
      (drop (i32.load8_u (i32.shl (memory.size) (i32.const 16)))) return)
      (i64.store (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 4)) (i64.const -1)) return)
      (i32.store (i32.const -1) (i32.const 1)) return)
      (i32.store offset=0xffffffff (i32.const -1) (i32.const 1)) return)
      (drop (v128.load offset=0x2000000 (i32.const -16))) return)
      (memory.fill (i32.const 0) (i32.const 1) (i32.add (i32.shl (memory.size) (i32.const 16)) (i32.const 1)))
      return)
      (memory.copy (i32.const 0) (i32.const -1) (i32.const 2)) return)
      (drop (call_indirect (type $unary) (i32.const 0) (i32.const 4))) return) ;; n
      (drop (call_indirect (type $unary) (i32.const 0) (i32.const -1))) return) ;; o
      (drop (call_indirect (type $unary) (i32.const 0) (i32.const 1))) return) ;; p
      (call_indirect (type $none) (i32.const 0)) return) ;; q
      (drop (call $deep (i32.const 0))) return) ;; r
      (drop (call $deeper (i32.const 0))) return) ;; s
      (loop $spin (br $spin))) ;; t
    ;; u: memory up to the limit, all of it touched, and then one byte more.
    (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    (loop $touch
      (i32.store (local.get $i) (local.get $i))
      (local.set $i (i32.add (local.get $i) (i32.const 4096)))
      (br_if $touch (i32.lt_u (local.get $i) (i32.shl (memory.size) (i32.const 16)))))
    (drop (i32.load8_u (i32.shl (memory.size) (i32.const 16)))))
  (func (export "invoke") (param $kind i32) (param $id i64) (param $len i32) (result i32)
    (local $where i32)
    ;; MESSAGE
    (if (i32.eq (local.get $kind) (i32.const 2)) (then
      (drop (call $recv (i32.const 0) (i32.const 1) (i32.const 0)))
      (call $wrong (i32.load8_u (i32.const 0)))
      (return (i32.const 0))))
    ;; READ
    (if (i32.eq (local.get $kind) (i32.const 4)) (then
      (i32.store8 (i32.const 8) (i32.add (i32.const 48) (global.get $count)))
      (drop (call $answer (i32.const 8) (i32.const 1)))
      (return (i32.const 0))))
    ;; COMMAND
    (if (i32.ne (local.get $kind) (i32.const 5)) (then (return (i32.const 0))))
    (drop (call $recv (i32.const 0) (i32.const 2) (i32.const 0)))
    (local.set $where (i32.load8_u (i32.const 0)))
    (if (i32.eq (local.get $where) (i32.const 110)) (then
      (global.set $count (i32.add (global.get $count) (i32.const 1)))
      (return (i32.const 0))))
    (if (i32.eq (local.get $where) (i32.const 100)) (then
      (call $wrong (i32.load8_u (i32.const 1)))
      (return (i32.const 0))))
    (if (i32.eq (local.get $where) (i32.const 105)) (then
      (return (call $signal (call $me) (i32.const 3) (i64.load8_u (i32.const 1))))))
    (if (i32.eq (local.get $where) (i32.const 102)) (then
      (global.set $then (i32.load8_u (i32.const 1)))
      (return (i32.and (i64.lt_s (call $sleep (i64.const 1000)) (i64.const 0)) (i32.const -5)))))
    (call $send (call $me) (i32.const 1) (i32.const 1)))
  (func (export "interrupt") (param $code i32) (param $arg i64) (param $len i32) (result i32)
    ;; That the guest goes on from a checkpoint is nothing to do wrong about.
    (if (i32.ne (local.get $code) (i32.const 63))
      (then (call $wrong (i32.wrap_i64 (local.get $arg)))))
    (i32.const 0))
  (func (export "future") (param $id i64) (param $status i32) (param $len i32) (result i32)
    (call $wrong (global.get $then))
    (i32.const 0)))

import Testing

@Suite("String commands")
struct StringCommandTests {
    @Test("SET and GET with all options")
    func set() throws {
        try check(
            """
            > GET k
            nil
            > SET k v
            +OK
            > GET k
            "v"
            > SET k w NX
            nil
            > SET k w XX
            +OK
            > SET missing w XX
            nil
            > SET k x EX 100
            +OK
            > TTL k
            :100
            > SET k y KEEPTTL
            +OK
            > TTL k
            :100
            > SET k z
            +OK
            > TTL k
            :-1
            > SET k a PX 1500
            +OK
            > PTTL k
            :2000
            > SET k b GET
            "a"
            > SET k c NX GET
            "b"
            > GET k
            "b"
            > SET new c NX GET
            nil
            > GET new
            "c"
            > SET k d VX other
            :-1
            > SET k d VX b
            :1
            > SET missing d VX b
            :0
            > SET k e EXAT 1795400803
            +OK
            > TTL k
            :1000
            > SET k e PXAT 1795400803999
            +OK
            > TTL k
            :1000
            > SET k v EX 0
            -ERR invalid expire time in 'set' command
            > SET k v EX -1
            -ERR invalid expire time in 'set' command
            > SET k v EX abc
            -ERR value is not an integer or out of range
            > SET k v EX 10 PX 10
            -ERR syntax error
            > SET k v EX 10 KEEPTTL
            -ERR syntax error
            > SET k v NX XX
            -ERR syntax error
            > SET k v EX
            -ERR syntax error
            > SET k v FOO
            -ERR syntax error
            > SET k v EXAT 4102444800
            -ERR invalid expire time in 'set' command
            > SET k v EX 9223372036854775807
            -ERR invalid expire time in 'set' command
            """)
    }

    @Test("SETNX, SETEX, PSETEX, PKSETEXAT, GETSET, DELVX")
    func variants() throws {
        try check(
            """
            > SETNX k v
            :1
            > SETNX k w
            :0
            > SETEX k 10 w
            +OK
            > TTL k
            :10
            > SETEX k 0 w
            -ERR invalid expire time in 'setex' command
            > PSETEX k 1 w
            +OK
            > PTTL k
            :1000
            > PSETEX k -1 w
            -ERR invalid expire time in 'psetex' command
            > PKSETEXAT k 1795399903 w
            +OK
            > TTL k
            :100
            > PKSETEXAT k 0 w
            +OK
            > TTL k
            :-1
            > PKSETEXAT k 2147483647 w
            -ERR invalid expire time in 'pksetexat' command
            > GETSET k new
            "w"
            > GETSET other x
            nil
            > DELVX k old
            :-1
            > DELVX k new
            :1
            > DELVX k new
            :0
            """)
    }

    @Test("APPEND, STRLEN, GETRANGE, SETRANGE")
    func parts() throws {
        try check(
            """
            > APPEND k "Hello "
            :6
            > APPEND k World
            :11
            > STRLEN k
            :11
            > STRLEN missing
            :0
            > GETRANGE k 0 4
            "Hello"
            > GETRANGE k -5 -1
            "World"
            > GETRANGE k 5 2
            ""
            > GETRANGE k 0 100
            "Hello World"
            > GETRANGE k -100 0
            "H"
            > GETRANGE missing 0 -1
            ""
            > SETRANGE k 6 Redis
            :11
            > GET k
            "Hello Redis"
            > SETRANGE k -1 x
            -ERR offset is out of range
            > SETRANGE missing 5 ""
            :0
            > EXISTS missing
            :0
            > SETRANGE k 536870912 x
            -ERR string exceeds maximum allowed size (proto-max-bulk-len)
            """)
    }

    @Test("INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT")
    func arithmetic() throws {
        try check(
            """
            > INCR n
            :1
            > INCRBY n 41
            :42
            > DECR n
            :41
            > DECRBY n 1
            :40
            > SETEX t 100 1
            +OK
            > INCR t
            :2
            > TTL t
            :100
            > SET n 9223372036854775807
            +OK
            > INCR n
            -ERR increment or decrement would overflow
            > DECRBY n -9223372036854775808
            -ERR decrement would overflow
            > SET n abc
            +OK
            > INCR n
            -ERR value is not an integer or out of range
            > INCRBY m 1.5
            -ERR value is not an integer or out of range
            > INCRBYFLOAT f 10.5
            "10.5"
            > INCRBYFLOAT f 0.1
            "10.6"
            > INCRBYFLOAT f -5
            "5.6"
            > INCRBYFLOAT f 2.0e2
            "205.60000000000000001"
            > INCRBYFLOAT n 1
            -ERR value is not a valid float
            > INCRBYFLOAT f abc
            -ERR value is not a valid float
            > INCRBYFLOAT f nan
            -ERR value is not a valid float
            > INCRBYFLOAT f inf
            -ERR increment would produce NaN or Infinity
            """)
    }

    @Test("MGET, MSET, MSETNX")
    func several() throws {
        try check(
            """
            > MSET a 1 b 2
            +OK
            > MGET a missing b
            ["1", nil, "2"]
            > MSET a 1 b
            -ERR wrong number of arguments for 'mset' command
            > MSETNX c 3 a 9
            :0
            > MGET c a
            [nil, "1"]
            > MSETNX c 3 d 4
            :1
            > MGET c d
            ["3", "4"]
            > MSETNX c 3 d
            -ERR wrong number of arguments for 'msetnx' command
            """)
    }
}

import Testing

@Suite("Moving and finding elements of lists")
struct ListMoveTests {
    @Test("LMOVE takes from and puts to the ends that are named")
    func lmove() throws {
        try check(
            """
            > RPUSH l a b c
            :3
            > LMOVE l m LEFT RIGHT
            "a"
            > LMOVE l m right left
            "c"
            > LRANGE m 0 -1
            ["c", "a"]
            > LMOVE m m LEFT RIGHT
            "c"
            > LRANGE m 0 -1
            ["a", "c"]
            > LMOVE missing m LEFT LEFT
            nil
            > LMOVE l m UP LEFT
            -ERR syntax error
            > EXPIRE l 100
            :1
            > LMOVE l l LEFT RIGHT
            "b"
            > TTL l
            :100
            > RPOPLPUSH l m
            "b"
            > EXISTS l
            :0
            """)
    }

    @Test("LMPOP takes from the first list that has elements")
    func lmpop() throws {
        try check(
            """
            > RPUSH l a b c
            :3
            > LMPOP 2 missing l LEFT
            ["l", ["a"]]
            > LMPOP 1 l RIGHT COUNT 10
            ["l", ["c", "b"]]
            > LMPOP 1 l RIGHT COUNT 10
            nil
            > LMPOP 0 l RIGHT
            -ERR numkeys should be greater than 0
            > LMPOP a l RIGHT
            -ERR numkeys should be greater than 0
            > LMPOP 2 l RIGHT
            -ERR syntax error
            > LMPOP 1 l UP
            -ERR syntax error
            > LMPOP 1 l LEFT COUNT 0
            -ERR count should be greater than 0
            > LMPOP 1 l LEFT COUNT 1 COUNT 2
            -ERR syntax error
            > LMPOP 9223372036854775807 l LEFT
            -ERR syntax error
            > LPOP missing 9223372036854775807
            nil
            """)
    }

    @Test("LPOS by rank, count and length")
    func lpos() throws {
        try check(
            """
            > RPUSH l a b c 1 2 3 c c
            :8
            > LPOS l c
            :2
            > LPOS l x
            nil
            > LPOS missing c
            nil
            > LPOS missing c COUNT 2
            []
            > LPOS l c RANK 2
            :6
            > LPOS l c RANK -1
            :7
            > LPOS l c COUNT 0
            [:2, :6, :7]
            > LPOS l c COUNT 2 RANK -2
            [:6, :2]
            > LPOS l c COUNT 0 MAXLEN 7
            [:2, :6]
            > LPOS l c COUNT -1
            -ERR COUNT can't be negative
            > LPOS l c MAXLEN -1
            -ERR MAXLEN can't be negative
            > LPOS l c RANK -9223372036854775808
            -ERR value is not an integer or out of range
            > LPOS l c RANK
            -ERR syntax error
            """)
    }

    @Test("ZMPOP takes from the first sorted set that has members")
    func zmpop() throws {
        let script =
            """
            > ZADD z 1 a 2 b 3 c
            :3
            > ZMPOP 2 missing z MIN
            ["z", [["a", "1"]]]
            > ZMPOP 1 z MAX COUNT 5
            ["z", [["c", "3"], ["b", "2"]]]
            > ZMPOP 1 z MAX
            nil
            > ZMPOP 1 z UP
            -ERR syntax error
            """
        try check(script)
    }
}

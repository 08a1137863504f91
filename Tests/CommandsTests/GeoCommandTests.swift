import Commands
import Synchronization
import Testing

@Suite("Places")
struct GeoCommandTests {
    private static let sicily = """
        > GEOADD Sicily 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
        :2

        """

    @Test("GEOADD with its options, and what it refuses")
    func geoadd() throws {
        try check(
            Self.sicily + """
                > ZSCORE Sicily Palermo
                "3479099956230698"
                > GEOADD Sicily NX 0 0 Palermo
                :0
                > GEOADD Sicily CH 13.361389 38.115556 Palermo 15 37 Catania
                :1
                > GEOADD Sicily XX CH 15.087269 37.502669 Catania 1 1 new
                :1
                > GEOADD Sicily NX XX 0 0 a
                -ERR syntax error
                > GEOADD Sicily GT 0 0 a
                -ERR syntax error
                > GEOADD Sicily 0 0 a 1
                -ERR syntax error
                > GEOADD Sicily 181 0 a
                -ERR invalid longitude,latitude pair 181.000000,0.000000
                > GEOADD Sicily 0 0 a 0 86 b
                -ERR invalid longitude,latitude pair 0.000000,86.000000
                > GEOADD Sicily x 0 a
                -ERR value is not a valid float
                > ZCARD Sicily
                :2
                > GEOADD twice 0 0 a 1 1 a
                :1
                > GEOHASH twice a
                ["s00twy01mt0"]
                """)
    }

    @Test("GEOPOS, GEOHASH and GEODIST")
    func lookUp() throws {
        try check(
            Self.sicily + """
                > GEOPOS Sicily Palermo none
                [["13.36138933897018433", "38.11555639549629859"], nil]
                > GEOPOS none a b
                [nil, nil]
                > GEOPOS Sicily
                []
                > GEOHASH Sicily Palermo Catania none
                ["sqc8b49rny0", "sqdtr74hyu0", nil]
                > GEODIST Sicily Palermo Catania
                "166274.1516"
                > GEODIST Sicily Palermo Catania KM
                "166.2742"
                > GEODIST Sicily Palermo Catania mi
                "103.3182"
                > GEODIST Sicily Palermo none
                nil
                > GEODIST Sicily Palermo Catania parsec
                -ERR unsupported unit provided. please use M, KM, FT, MI
                > GEODIST Sicily Palermo Catania m x
                -ERR syntax error
                """)
    }

    @Test("Coordinates are doubles in RESP3, distances texts in both")
    func resp3() throws {
        let harness = try Harness()
        defer { harness.close() }
        check(harness, Self.sicily)
        _ = harness.run("HELLO 3")
        check(
            harness,
            """
            > GEOPOS Sicily Palermo none
            [[,13.36138933897018433, ,38.11555639549629859], nil]
            > GEODIST Sicily Palermo Catania
            "166274.1516"
            > GEORADIUSBYMEMBER Sicily Palermo 1 km WITHCOORD WITHDIST
            [["Palermo", "0.0000", [,13.36138933897018433, ,38.11555639549629859]]]
            """)
    }

    @Test("GEORADIUS, GEORADIUSBYMEMBER and their stores")
    func radius() throws {
        try check(
            Self.sicily + """
                > GEORADIUS Sicily 15 37 200 km ASC
                ["Catania", "Palermo"]
                > GEORADIUS Sicily 15 37 200 km WITHDIST DESC COUNT 1
                [["Palermo", "190.4424"]]
                > GEORADIUS_RO Sicily 15 37 100 km WITHHASH WITHCOORD
                [["Catania", :3479447370796909, ["15.08726745843887329", "37.50266842333162032"]]]
                > GEORADIUSBYMEMBER Sicily Palermo 100 km
                ["Palermo"]
                > GEORADIUSBYMEMBER Sicily none 100 km
                -ERR could not decode requested zset member
                > GEORADIUSBYMEMBER none a x y
                []
                > GEORADIUS Sicily 15 37 -1 km
                -ERR radius cannot be negative
                > GEORADIUS Sicily 15 37 x km
                -ERR need numeric radius
                > GEORADIUS Sicily 15 37 1 km ANY
                -ERR the ANY argument requires COUNT argument
                > GEORADIUS Sicily 15 37 1 km COUNT 0
                -ERR COUNT must be > 0
                > GEORADIUS Sicily 15 37 1 km STORE d WITHDIST
                -ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options
                > GEORADIUS_RO Sicily 15 37 1 km STORE d
                -ERR syntax error
                > SET d string
                +OK
                > GEORADIUS Sicily 15 37 200 km STOREDIST d
                :2
                > GET d
                nil
                > ZRANGE d 0 -1
                ["Catania", "Palermo"]
                > GEORADIUS none 15 37 200 km STORE d
                :0
                > EXISTS d
                :0
                > COMMAND GETKEYS GEORADIUS Sicily 1 1 1 km COUNT 1 STORE d
                ["Sicily", "d"]
                """)
    }

    @Test("GEOSEARCH and GEOSEARCHSTORE")
    func search() throws {
        try check(
            Self.sicily + """
                > GEOSEARCH Sicily FROMLONLAT 15 37 BYBOX 400 400 km ASC
                ["Catania", "Palermo"]
                > GEOSEARCH Sicily FROMMEMBER Palermo BYRADIUS 200 km DESC WITHDIST
                [["Catania", "166.2742"], ["Palermo", "0.0000"]]
                > GEOSEARCH Sicily FROMLONLAT 15 37 BYBOX 400 400 km BYRADIUS 1 km
                -ERR syntax error
                > GEOSEARCH Sicily FROMLONLAT 15 37 FROMMEMBER Palermo BYRADIUS 1 km
                -ERR syntax error
                > GEOSEARCH Sicily BYRADIUS 200 km ASC COUNT 1
                -ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GEOSEARCH
                > GEOSEARCH Sicily FROMMEMBER Palermo ASC COUNT 1
                -ERR exactly one of BYRADIUS and BYBOX can be specified for GEOSEARCH
                > GEOSEARCH Sicily FROMLONLAT 15 37 BYBOX 1 -1 km
                -ERR height or width cannot be negative
                > GEOSEARCHSTORE d Sicily FROMLONLAT 15 37 BYBOX 400 400 km COUNT 1
                :1
                > GEOHASH d Catania
                ["sqdtr74hyu0"]
                > GEOSEARCHSTORE d Sicily FROMLONLAT 15 37 BYBOX 400 400 km WITHDIST
                -ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options
                > GEOADD edge 180 10 a -180 10 b
                :2
                > GEOSEARCH edge FROMLONLAT -180 10 BYRADIUS 1 km
                ["b", "a"]
                > ZADD wild -5 below 1e300 above inf end
                :3
                > GEOPOS wild below above
                [["180", "85.0511287799999991"], ["180", "85.0511287799999991"]]
                """)
    }

    @Test("A replica runs searches that store nothing")
    func replica() throws {
        let harness = try Harness()
        defer { harness.close() }
        check(harness, Self.sicily)
        harness.environment.isReadOnlyReplica.store(true, ordering: .relaxed)
        check(
            harness,
            """
            > GEORADIUSBYMEMBER Sicily Palermo 1 km
            ["Palermo"]
            > GEORADIUSBYMEMBER Sicily Palermo 1 km STORE d
            -READONLY You can't write against a read only replica.
            > GEORADIUS Sicily 1 1 1 km COUNT 1 STOREDIST d
            -READONLY You can't write against a read only replica.
            > SORT Sicily BY nosort
            ["Palermo", "Catania"]
            """)
    }
}

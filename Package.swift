// swift-tools-version: 6.2
import PackageDescription

/// Settings that every Swift target uses.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .treatAllWarnings(as: .error),
]

/// Debian's RocksDB and what it needs, linked statically: calls are up to 35 % faster than through
/// the shared library.
let rocksdb: [LinkerSetting] = [
    ":librocksdb.a", "snappy", "z", "bz2", "lz4", "zstd", "xxhash", "stdc++",
].map { .linkedLibrary($0) }

let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioEmbedded: Target.Dependency = .product(name: "NIOEmbedded", package: "swift-nio")
let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let toml: Target.Dependency = .product(name: "TOMLKit", package: "TOMLKit")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let lifecycle: Target.Dependency = .product(
    name: "ServiceLifecycle", package: "swift-service-lifecycle")
let arguments: Target.Dependency = .product(
    name: "ArgumentParser", package: "swift-argument-parser")

/// A library of ours.
func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

/// A test suite of ours.
func suite(_ name: String, _ dependencies: [Target.Dependency], resources: [Resource]? = nil)
    -> Target
{
    .testTarget(
        name: name, dependencies: dependencies, resources: resources, swiftSettings: strict)
}

let package = Package(
    name: "pika-swift",
    products: [
        .executable(name: "pika", targets: ["pika"]),
        .executable(name: "binlog-dump", targets: ["binlog-dump"]),
        .executable(name: "bench-load", targets: ["bench-load"]),
        .executable(name: "pika-migrate", targets: ["pika-migrate"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        // Pure: no sockets, no files, no clock.
        module("SyncProtocol", [nioCore, protobuf, "CXXHash"]),
        module("RESP", [nioCore]),
        module("RateLimit"),
        module("ReplicationCore", ["SyncProtocol"]),
        module("RDB"),
        module("RedisSync"),
        module("MigrateCore", ["RateLimit"]),

        // State on disk.
        .target(name: "CFileShim"),
        module("FileIO", ["CFileShim", "CXXHash"]),
        .target(name: "CXXHash", linkerSettings: [.linkedLibrary("xxhash")]),
        module("Binlog", ["FileIO", "SyncProtocol", "CXXHash"]),
        module("ResumeStore", ["FileIO", "SyncProtocol", "CXXHash"]),
        .target(name: "CPikaShim", linkerSettings: rocksdb),
        module("PikaStorage", ["CPikaShim", "FileIO", "SyncProtocol", "CXXHash"]),
        module("Keyspace", ["Binlog", "PikaStorage", "FileIO", "SyncProtocol", "CXXHash"]),

        // Shells.
        module("Commands", ["Keyspace", "PikaStorage", "RDB", "RESP", "SyncProtocol"]),
        module(
            "Replication",
            [
                "Keyspace", "Binlog", "ResumeStore", "ReplicationCore", "RateLimit", "SyncProtocol",
                "FileIO", "PikaStorage", "CXXHash", nioCore, nioPosix, logging,
            ]),
        module(
            "PikaServer",
            [
                "Commands", "Replication", "Keyspace", "RESP", "RateLimit", "SyncProtocol",
                "FileIO",
                "PikaStorage", "Binlog", nioCore, nioPosix, logging, lifecycle,
            ]),
        module(
            "Migrate",
            [
                "MigrateCore", "RDB", "RedisSync", "RateLimit", "FileIO", "CXXHash", "SyncProtocol",
                "PikaStorage", "Binlog", "Keyspace", "Replication", nioCore, nioPosix, nioHTTP1,
                nioSSL, toml, logging,
            ]),
        .executableTarget(
            name: "pika-migrate", dependencies: ["Migrate", "MigrateCore", arguments],
            swiftSettings: strict),
        .executableTarget(
            name: "pika", dependencies: ["PikaServer", arguments, logging, lifecycle],
            swiftSettings: strict),
        .executableTarget(
            name: "binlog-dump", dependencies: ["Binlog", "FileIO", "SyncProtocol", arguments],
            path: "tools/binlog-dump", swiftSettings: strict),
        .executableTarget(
            name: "bench-load", dependencies: [arguments, "CFileShim"], path: "tools/bench-load",
            swiftSettings: strict),

        module("TestKit", ["FileIO", "SyncProtocol"]),
        suite("SyncProtocolTests", ["SyncProtocol", "TestKit", nioCore, protobuf]),
        suite("RateLimitTests", ["RateLimit", "TestKit"]),
        suite("RDBTests", ["RDB"], resources: [.copy("Fixtures")]),
        suite("RedisSyncTests", ["RedisSync"]),
        suite("MigrateCoreTests", ["MigrateCore", "TestKit"]),
        suite(
            "MigrateTests",
            [
                "Migrate", "MigrateCore", "RDB", "RedisSync", "FileIO", "Keyspace", "PikaStorage",
                "SyncProtocol", "TestKit", nioCore, nioPosix,
            ],
            resources: [.copy("Fixtures")]),
        suite("RESPTests", ["RESP", nioCore]),
        suite("ReplicationCoreTests", ["ReplicationCore", "SyncProtocol", "TestKit"]),
        suite("FileIOTests", ["FileIO", "TestKit"]),
        suite(
            "BinlogTests", ["Binlog", "FileIO", "SyncProtocol", "TestKit"],
            resources: [.copy("Fixtures")]),
        suite("ResumeStoreTests", ["ResumeStore", "FileIO", "SyncProtocol", "TestKit"]),
        suite(
            "PikaStorageTests", ["PikaStorage", "FileIO", "SyncProtocol", "TestKit"],
            resources: [.copy("Fixtures")]),
        suite(
            "KeyspaceTests",
            ["Keyspace", "PikaStorage", "Binlog", "FileIO", "SyncProtocol", "TestKit"],
            resources: [.copy("Fixtures")]),
        suite(
            "CommandsTests",
            [
                "Commands", "Keyspace", "PikaStorage", "Binlog", "FileIO", "SyncProtocol", "RESP",
                "TestKit",
            ],
            resources: [.copy("Fixtures")]),
        suite(
            "ReplicationTests",
            [
                "Replication", "ReplicationCore", "Keyspace", "PikaStorage", "Binlog",
                "SyncProtocol",
                "RateLimit", "ResumeStore", "FileIO", "TestKit", "CXXHash", nioCore, nioPosix,
                nioEmbedded, logging,
            ]),
        suite(
            "PikaServerTests",
            ["PikaServer", "Commands", "FileIO", "TestKit", nioCore, nioPosix, logging]),
        suite("SimulationTests", ["ReplicationCore", "SyncProtocol", "RateLimit", nioCore]),
        suite("ProcessTests", ["TestKit", "FileIO", "SyncProtocol", nioCore, nioPosix]),
        suite("TidyTests", []),
    ],
    cxxLanguageStandard: .cxx17
)

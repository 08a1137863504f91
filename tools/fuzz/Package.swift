// swift-tools-version: 6.2
import PackageDescription

/// Fuzz targets for the decoders of SyncProtocol, Binlog, ResumeStore, RDB and
/// RedisSync; not part of the normal build.
///
/// Run them by `tools/fuzz/run`. The module is compiled here with the fuzzer's instrumentation.
let fuzzed: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .unsafeFlags(["-sanitize=fuzzer,address", "-parse-as-library"]),
]

/// A module of ours, with the fuzzer's instrumentation.
func instrumented(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(
        name: name, dependencies: dependencies, path: "Modules/\(name)",
        swiftSettings: Array(fuzzed.dropLast()) + [.unsafeFlags(["-sanitize=fuzzer,address"])])
}

let package = Package(
    name: "fuzz",
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
    ],
    targets: [
        .target(
            name: "CXXHash", path: "Modules/CXXHash", linkerSettings: [.linkedLibrary("xxhash")]),
        .target(
            name: "SyncProtocol",
            dependencies: [
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "SwiftProtobuf", package: "swift-protobuf"), "CXXHash",
            ],
            path: "Modules/SyncProtocol",
            swiftSettings: Array(fuzzed.dropLast()) + [.unsafeFlags(["-sanitize=fuzzer,address"])]),
        .target(name: "CFileShim", path: "Modules/CFileShim"),
        instrumented("FileIO", ["CFileShim", "CXXHash"]),
        instrumented("Binlog", ["FileIO", "SyncProtocol", "CXXHash"]),
        instrumented("ResumeStore", ["FileIO", "SyncProtocol", "CXXHash"]),
        instrumented("TestKit", ["FileIO", "SyncProtocol"]),
        instrumented("RDB", []),
        instrumented("RedisSync", []),
        .executableTarget(
            name: "fuzz",
            dependencies: [
                "SyncProtocol", "FileIO", "Binlog", "ResumeStore", "TestKit", "RDB", "RedisSync",
                .product(name: "NIOCore", package: "swift-nio"),
            ],
            swiftSettings: fuzzed,
            linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address"])]),
    ]
)

import Glibc

/// What can be fuzzed, by name; each takes any bytes, and traps if something is wrong.
private let targets: [String: @Sendable (UnsafeBufferPointer<UInt8>) -> Void] = [
    "FuzzBinlog": fuzzBinlog,
    "FuzzFileRequests": fuzzFileRequests,
    "FuzzFileResponses": fuzzFileResponses,
    "FuzzFrames": fuzzFrames,
    "FuzzRDB": fuzzRDB,
    "FuzzRedisSync": fuzzRedisSync,
    "FuzzRequests": fuzzRequests,
    "FuzzResponses": fuzzResponses,
    "FuzzResume": fuzzResume,
    "FuzzSidecar": fuzzSidecar,
]

/// The target that the environment names: libFuzzer has the arguments for itself.
private let target: @Sendable (UnsafeBufferPointer<UInt8>) -> Void = {
    let name = getenv("FUZZ_TARGET").map { String(cString: $0) } ?? ""
    guard let target = targets[name] else {
        let text = "FUZZ_TARGET must be one of \(targets.keys.sorted())\n"
        _ = text.withCString { write(STDERR_FILENO, $0, strlen($0)) }
        exit(2)
    }
    return target
}()

/// What libFuzzer calls for each input.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    target(UnsafeBufferPointer(start: start, count: count))
    return 0
}

/// SwiftPM renames an executable's entry point, so libFuzzer's own `main` is not found.
@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _ body: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// The renamed entry point.
@_cdecl("fuzz_main")
public func entryPoint(
    _ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> CInt {
    var count = count
    var arguments = arguments
    return runFuzzer(&count, &arguments) { fuzzOneInput($0, $1) }
}

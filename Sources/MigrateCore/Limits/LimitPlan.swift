/// What a limit holds for, a second.
public enum LimitName: String, Sendable, CaseIterable {
    /// Bytes to the target while copying.
    case snapshotBytes = "snapshot-bytes"
    /// Commands to the target while copying.
    case snapshotCommands = "snapshot-commands"
    /// Keys to the target while copying.
    case snapshotKeys = "snapshot-keys"
    /// Bytes to the target while following.
    case streamBytes = "stream-bytes"
    /// Commands to the target while following.
    case streamCommands = "stream-commands"
    /// Keys that are touched in the target while following.
    case streamKeys = "stream-keys"
}

/// Which limits hold now: what the operator has set since the start, over the schedule's window,
/// over the settings.
public struct LimitPlan: Sendable, Equatable {
    /// Those of the settings; 0 and none = no limit.
    public let base: [LimitName: UInt64]
    /// The schedule: of those that hold at one time, the first that names a limit counts.
    public let windows: [LimitWindow]
    private var overrides: [LimitName: UInt64] = [:]

    /// A plan without an operator.
    public init(base: [LimitName: UInt64], windows: [LimitWindow] = []) {
        self.base = base
        self.windows = windows
    }

    /// The operator sets a limit until the end of the run; nil gives it back to the schedule.
    public mutating func override(_ name: LimitName, _ perSecond: UInt64?) {
        self.overrides[name] = perSecond
    }

    /// All limits at a time of the schedule's clock.
    public func limits(at moment: LocalMoment) -> [LimitName: UInt64] {
        var limits: [LimitName: UInt64] = [:]
        let open = self.windows.filter { $0.contains(moment) }
        for name in LimitName.allCases {
            let window = open.first { $0.limits[name] != nil }
            limits[name] = self.overrides[name] ?? window?.limits[name] ?? self.base[name] ?? 0
        }
        return limits
    }
}

import Glibc

/// What GEOSEARCH looks in: a circle or a box around a place.
public struct GeoShape: Sendable {
    /// Form and size, in metres.
    public enum Form: Sendable {
        /// All places at most so far away.
        case circle(radius: Double)
        /// All places at most half a width east or west and half a height north or south.
        case box(width: Double, height: Double)
    }

    /// The middle.
    public var center: GeoPoint
    /// Form and size.
    public var form: Form

    /// Names a shape.
    public init(center: GeoPoint, form: Form) {
        self.center = center
        self.form = form
    }

    /// Metres from the middle to a place inside; nil for one outside.
    public func distance(to place: GeoPoint) -> Double? {
        switch form {
        case .circle(let radius):
            let distance = center.distance(to: place)
            return distance > radius ? nil : distance
        case .box(let width, let height):
            guard place.latitudeDistance(to: center) <= height / 2 else { return nil }
            let across = GeoPoint(longitude: center.longitude, latitude: place.latitude)
            guard place.distance(to: across) <= width / 2 else { return nil }
            return center.distance(to: place)
        }
    }
}

// MARK: - Where to look

extension GeoShape {
    /// The ranges of scores that hold every place inside, and some outside.
    ///
    /// They are the cell of the middle and its neighbours, in a grid just so coarse that these nine
    /// cover the shape: the middle, north, south, east, west, north-east, north-west, south-east,
    /// south-west. Cells that the shape does not reach are left out. The edges of the area follow.
    public var scoreRanges: [ScoreRange] {
        let bounds = self.bounds
        var step = self.firstStep
        var cell = GeoCell(center, step: step)
        while step > 1, !cell.neighboursCover(bounds) {
            step -= 1
            cell = GeoCell(center, step: step)
        }
        let moves: [(Int64, Int64)] = [
            (0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1),
        ]
        var found: [GeoCell] = []
        for (x, y) in moves where step < 2 || cell.reaches(bounds, x: x, y: y) {
            guard let neighbour = cell.moved(x: x, y: y), !found.contains(neighbour) else {
                continue
            }
            found.append(neighbour)
        }
        return (found + found.flatMap(\.edges)).map(\.scores)
    }

    /// Half of the longest way through the shape.
    private var reach: Double {
        switch form {
        case .circle(let radius): radius
        case .box(let width, let height):
            (width / 2 * (width / 2) + height / 2 * (height / 2)).squareRoot()
        }
    }

    /// How often the area may be halved so that nine cells are likely to cover the shape.
    private var firstStep: Int {
        /// Half the length of the equator on Mercator's map, in metres.
        let wholeMap = 20_037_726.37
        var reach = self.reach
        guard reach > 0 else { return Geohash.step }
        var step = -1
        while reach < wholeMap {
            reach *= 2
            step += 1
        }
        // Towards the poles the cells become narrow.
        let latitude = abs(center.latitude)
        if latitude > 66 { step -= 1 }
        if latitude > 80 { step -= 1 }
        return min(max(step, 1), Geohash.step)
    }

    /// A box of degrees around the shape; may go beyond 180 degrees and the poles.
    private var bounds: GeoBounds {
        let north: Double
        let east: Double
        switch form {
        case .circle(let radius):
            north = radius / GeoPoint.earthRadius
            east = north
        case .box(let width, let height):
            north = height / 2 / GeoPoint.earthRadius
            east = width / 2 / GeoPoint.earthRadius
        }
        let tall = degrees(north)
        let farthest = radians(min(abs(center.latitude) + tall, 90))
        var turn = 180.0
        if farthest < .pi / 2 {
            // The widest place of a circle lies between; of a box it is the side at `farthest`,
            // measured along a great circle.
            let circle = sin(min(east, .pi / 2)) / cos(radians(center.latitude))
            let side = sin(min(east, .pi) / 2) / cos(farthest)
            let wide = max(
                circle < 1 ? asin(circle) : .pi, side < 1 ? 2 * asin(side) : .pi,
                east / cos(farthest))
            turn = min(degrees(wide), 180)
        }
        return GeoBounds(
            west: center.longitude - turn, south: center.latitude - tall,
            east: center.longitude + turn, north: center.latitude + tall)
    }
}

/// Degrees around a shape.
private struct GeoBounds {
    var west: Double
    var south: Double
    var east: Double
    var north: Double
}

/// A cell of the grid that halves both coordinates `step` times.
private struct GeoCell: Equatable {
    var x: UInt64
    var y: UInt64
    let step: Int

    init(_ place: GeoPoint, step: Int) {
        let last = (UInt64(1) << UInt64(step)) - 1
        x = min(Geohash.cell(place.longitude, Geohash.longitudes, step: step), last)
        y = min(Geohash.cell(place.latitude, Geohash.latitudes, step: step), last)
        self.step = step
    }

    private var count: UInt64 { UInt64(1) << UInt64(step) }

    private func longitude(_ offset: Double) -> Double {
        Geohash.edge(Double(x) + offset, Geohash.longitudes, step: step)
    }

    private func latitude(_ offset: Double) -> Double {
        Geohash.edge(Double(y) + offset, Geohash.latitudes, step: step)
    }

    /// Whether the cell and its neighbours hold all of the bounds that can be indexed.
    func neighboursCover(_ bounds: GeoBounds) -> Bool {
        longitude(-1) <= bounds.west && bounds.east <= longitude(2)
            && latitude(-1) <= max(bounds.south, Geohash.latitudes.lowerBound)
            && min(bounds.north, Geohash.latitudes.upperBound) <= latitude(2)
    }

    /// Whether the bounds go as far as the neighbour.
    func reaches(_ bounds: GeoBounds, x: Int64, y: Int64) -> Bool {
        (x >= 0 || bounds.west <= longitude(0)) && (x <= 0 || longitude(1) <= bounds.east)
            && (y >= 0 || bounds.south <= latitude(0)) && (y <= 0 || latitude(1) <= bounds.north)
    }

    /// A neighbour: around the world to the east and west, none behind the last rows.
    func moved(x: Int64, y: Int64) -> GeoCell? {
        var cell = self
        cell.x = (self.x &+ UInt64(bitPattern: x)) & (count - 1)
        cell.y = self.y &+ UInt64(bitPattern: y)
        return cell.y < count ? cell : nil
    }

    /// The cells of places exactly on the upper edges of the area, which are counted into a column
    /// and a row of their own behind the last ones.
    var edges: [GeoCell] {
        let columns = x == count - 1 ? [x, count] : [x]
        let rows = y == count - 1 ? [y, count] : [y]
        return columns.flatMap { x in
            rows.map { y in
                var cell = self
                cell.x = x
                cell.y = y
                return cell
            }
        }.filter { $0 != self }
    }

    /// The scores of the places in the cell.
    var scores: ScoreRange {
        let shift = UInt64(2 * (Geohash.step - step))
        let bits = Geohash.interleave(x: x, y: y)
        return ScoreRange(
            minimum: ScoreBound(Double(bits << shift)),
            maximum: ScoreBound(Double((bits + 1) << shift), isExclusive: true))
    }
}

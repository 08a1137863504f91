<?php
// phpredis PORT: values, hashes, pipelines, transactions, scans.
function check($condition, $what) {
    if (!$condition) {
        fwrite(STDERR, "phpredis: $what\n");
        exit(1);
    }
}

$redis = new Redis();
check($redis->connect('127.0.0.1', (int)$argv[1]), 'connect');
check($redis->set('php:k', "a\0b"), 'SET');
check($redis->get('php:k') === "a\0b", 'GET');
check($redis->get('php:missing') === false, 'GET of no key');
$redis->hMSet('php:h', ['a' => '1', 'b' => '2']);
check($redis->hGetAll('php:h') == ['a' => '1', 'b' => '2'], 'HGETALL');
check($redis->zAdd('php:z', 1.5, 'm') === 1 && $redis->zScore('php:z', 'm') === 1.5, 'ZADD');
check($redis->pipeline()->incr('php:n')->incr('php:n')->exec() === [1, 2], 'pipeline');
check($redis->multi()->incr('php:n')->get('php:n')->exec() === [3, '3'], 'MULTI');
$found = [];
$cursor = null;
do {
    foreach ($redis->scan($cursor, 'php:*') ?: [] as $key) $found[$key] = true;
} while ($cursor > 0);
check(count($found) === 4, 'SCAN');
check($redis->publish('php:news', 'x') === 0, 'PUBLISH');

/* hiredis PORT: a command, a pipeline, a binary value, an error. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void require(int condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "hiredis: %s\n", what);
    exit(1);
}

int main(int count, char **arguments) {
    require(count == 2, "usage: hiredis PORT");
    redisContext *context = redisConnect("127.0.0.1", atoi(arguments[1]));
    require(context != NULL && context->err == 0, "connect");

    const char value[] = "a\0b\r\n\xff";
    redisReply *reply = redisCommand(context, "SET %s %b", "hi:k", value, sizeof value - 1);
    require(reply != NULL && strcmp(reply->str, "OK") == 0, "SET");
    freeReplyObject(reply);
    reply = redisCommand(context, "GET hi:k");
    require(reply != NULL && reply->len == sizeof value - 1, "length of GET");
    require(memcmp(reply->str, value, sizeof value - 1) == 0, "bytes of GET");
    freeReplyObject(reply);

    enum { requests = 1000 };
    for (int i = 0; i < requests; i++) redisAppendCommand(context, "RPUSH hi:l %d", i);
    for (int i = 0; i < requests; i++) {
        require(redisGetReply(context, (void **)&reply) == REDIS_OK, "pipeline");
        require(reply->type == REDIS_REPLY_INTEGER && reply->integer == i + 1, "RPUSH");
        freeReplyObject(reply);
    }
    reply = redisCommand(context, "NOSUCHCOMMAND");
    require(reply != NULL && reply->type == REDIS_REPLY_ERROR, "error reply");
    freeReplyObject(reply);
    redisFree(context);
    return 0;
}

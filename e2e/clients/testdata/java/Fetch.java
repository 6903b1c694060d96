import java.io.IOException;
import java.io.InputStream;
import java.net.Authenticator;
import java.net.HttpURLConnection;
import java.net.PasswordAuthentication;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;

/** Fetches with both clients of the JDK. The proxy and the trust store come from JAVA_TOOL_OPTIONS, the credentials do not. */
public class Fetch {
    public static void main(String[] arguments) throws Exception {
        URI target = URI.create("https://web." + arguments[0] + ".test/hello");
        Authenticator.setDefault(credentials(System.getenv("CARACAL_PROXY_URL")));
        int status = arguments[1].equals("connection") ? withConnection(target) : withClient(target);
        System.exit(status == 200 ? 0 : 1);
    }

    static Authenticator credentials(String proxy) {
        String[] userInfo = URI.create(proxy).getUserInfo().split(":", 2);
        return new Authenticator() {
            @Override
            protected PasswordAuthentication getPasswordAuthentication() {
                if (getRequestorType() != RequestorType.PROXY) {
                    return null;
                }
                return new PasswordAuthentication(userInfo[0], userInfo[1].toCharArray());
            }
        };
    }

    static int withClient(URI target) throws Exception {
        HttpClient client = HttpClient.newBuilder().authenticator(Authenticator.getDefault()).build();
        HttpResponse<String> response = client.send(HttpRequest.newBuilder(target).build(), HttpResponse.BodyHandlers.ofString());
        System.out.println(response.version() + " " + response.body());
        return response.statusCode();
    }

    static int withConnection(URI target) throws IOException {
        HttpURLConnection connection = (HttpURLConnection) target.toURL().openConnection();
        int status = connection.getResponseCode();
        try (InputStream body = status < 400 ? connection.getInputStream() : connection.getErrorStream()) {
            System.out.println(new String(body.readAllBytes(), StandardCharsets.UTF_8));
        }
        return status;
    }
}
